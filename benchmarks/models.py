"""`python -m benchmarks.models [NAME...]`: speed and memory of models that `sigrl checkpoint get` offers.

Neither depends on the weights, so they are random here, and nothing is downloaded. Each model runs on
PyTorch, in a process of its own, in turns with the bundled checkpoint, because a machine's speed changes.
"""

import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from benchmarks.measuring import interleaved, markdown_table
from sigrl.model.bundle import Bundle, TaggingModel, load_bundle
from sigrl.model.bundle_files import bundled_path
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import Description, Manifest
from sigrl.model.torch_engine import TorchEngine
from sigrl.service.hub.catalogue import Model, catalogue, find_model
from sigrl.training.backbones.open_clip_source import find_source


class Measured(NamedTuple):
    """A model's cost."""

    seconds: float
    """Of the image tower, for a batch."""
    bundled_seconds: float
    """Of the bundled checkpoint's, in the same process."""
    memory: int
    """Peak of the process in bytes, with both towers of the model and the bundled checkpoint."""


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names in the list of `sigrl checkpoint get`; default: all")
    ] = None,
    photographs: Annotated[int, typer.Option(help="Photographs in a batch")] = 4,
    rounds: Annotated[int, typer.Option(help="Batches of each model; the median counts")] = 5,
) -> None:
    """Print photographs a second, the time of one as a multiple of the bundled checkpoint's, and memory."""
    rows = []
    for name in names or [model.name for model in catalogue()]:
        # A process that ends gives all its memory back, and its peak is that of one model.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(measure, name, photographs, rounds).result()
        rows.append(
            (
                name,
                f"{photographs / found.seconds:.2g}",
                f"{found.seconds / found.bundled_seconds:.1f}",
                f"{found.memory / 1e9:.1f} GB",
            )
        )
        print(f"{name}: done", flush=True)
    print(f"{torch.get_num_threads()} threads, float32, PyTorch, batches of {photographs}")
    print(markdown_table(("model", "photographs a second", "time, bundled = 1", "peak memory"), rows))


def measure(name: str, photographs: int, rounds: int) -> Measured:
    """The cost of the model `name` for batches of `photographs`; the median of `rounds`."""
    model = _engine(find_model(name))
    engines = {name: model, "bundled": TorchEngine(load_bundle(bundled_path()), "cpu", precision="float32")}
    batches = {name: _pixel_values(engine, photographs) for name, engine in engines.items()}
    seconds = interleaved(
        {name: lambda name=name: engines[name].encode_images(batches[name]) for name in engines}, rounds
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(seconds[name], seconds["bundled"], peak)


def _engine(model: Model) -> TorchEngine:
    """The model with random weights. Raises WeightsError if it cannot be imported."""
    source = find_source(f"{model.architecture}/{model.tag}")
    description = Description(
        name=model.name,
        backbone=source.backbone,
        head=HeadConfig(kind="clip"),
        preprocessing=source.preprocessing,
        default_threshold=0.5,
        provenance={"data": "none: random weights"},
    )
    tokenizer = _tokenizer(source.backbone.context_length) if source.backbone.has_tokenizer_file else None
    made = TaggingModel(description.backbone, description.head, tokenizer).eval().requires_grad_(False)
    manifest = Manifest.model_construct(**dict(description), format_version=1, files={})
    return TorchEngine(Bundle(manifest, "random", made, None), "cpu", precision="float32")


def _tokenizer(context_length: int) -> bytes:
    """A tokenizer that knows no word, because no text is encoded here."""
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(length=context_length)
    return tokenizer.to_str().encode()


def _pixel_values(engine: TorchEngine, photographs: int) -> np.ndarray:
    size = engine.preprocessing.image_size
    return np.random.default_rng(0).standard_normal((photographs, 3, size, size), dtype=np.float32)


if __name__ == "__main__":
    typer.run(main)
