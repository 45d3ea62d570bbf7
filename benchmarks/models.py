"""`python -m benchmarks.models NAME...`: the speed of models that `sigrl checkpoint get` offers.

Speed does not depend on the weights, so they are random here. Each model runs on PyTorch as the bundled
checkpoint does, in rounds in which every model has its turn, because a machine's speed changes.
"""

from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.measuring import interleaved, markdown_table
from sigrl.model.bundle import Bundle, TaggingModel, load_bundle
from sigrl.model.bundle_files import bundled_path
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import Description, Manifest
from sigrl.model.torch_engine import TorchEngine
from sigrl.service.hub.catalogue import Model, find_model
from sigrl.training.backbones.open_clip_source import find_source

BUNDLED = "the bundled checkpoint"


def main(
    names: Annotated[list[str], typer.Argument(help="Names in the list of `sigrl checkpoint get`")],
    photographs: Annotated[int, typer.Option(help="Photographs in a batch")] = 4,
    rounds: Annotated[int, typer.Option(help="Batches of each model; the median counts")] = 5,
) -> None:
    """Print photographs a second, and the time of one as a multiple of the bundled checkpoint's."""
    engines = {BUNDLED: TorchEngine(load_bundle(bundled_path()), "cpu", precision="float32")}
    engines |= {name: _engine(find_model(name)) for name in names}
    batches = {name: _pixel_values(engine, photographs) for name, engine in engines.items()}
    seconds = interleaved(
        {name: lambda name=name: engines[name].encode_images(batches[name]) for name in engines}, rounds
    )
    rows = [
        (name, f"{photographs / found:.1f}", f"{found / seconds[BUNDLED]:.1f}")
        for name, found in seconds.items()
    ]
    print(f"{torch.get_num_threads()} threads, float32, PyTorch, batches of {photographs}")
    print(markdown_table(("model", "photographs a second", "time, bundled = 1"), rows))


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
    made = TaggingModel(description.backbone, description.head).eval().requires_grad_(False)
    manifest = Manifest.model_construct(**dict(description), format_version=1, files={})
    return TorchEngine(Bundle(manifest, "random", made, None), "cpu", precision="float32")


def _pixel_values(engine: TorchEngine, photographs: int) -> np.ndarray:
    size = engine.preprocessing.image_size
    return np.random.default_rng(0).standard_normal((photographs, 3, size, size), dtype=np.float32)


if __name__ == "__main__":
    typer.run(main)
