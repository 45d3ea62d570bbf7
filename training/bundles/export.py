"""`sigrl-train export`: adds ONNX graphs to a bundle, so that OpenVINO and ONNX Runtime can serve it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.bundle_files import BundleFiles, make_files, read_files
from sigrl.model.engine import Engine
from sigrl.model.manifest import ONNX_TOKENIZER, WEIGHTS
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.prompt_tokens import with_prompt
from sigrl.model.tokenizer import CLIP_TOKENIZER, PublishedTokenizer
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.training.bundles.clip_tokenizer import clip_tokenizer_definition
from sigrl.training.bundles.onnx_files import OPSET, to_onnx
from sigrl.training.bundles.onnx_graphs import STEPS
from sigrl.training.data.coco import DataError

TOLERANCE = 1e-4
"""Largest difference allowed between the two engines, relative to the largest value."""

_WITHOUT_GRAPHS = {
    "piaa": "fits a classifier to each label set",
    "tagclip": "crops the photograph around each likely label",
}
LABELS = Vocabulary(
    labels=(
        "dog",
        Label(name="a label of so many words that its text is longer than that of all others"),
        Label(name="bicycle", synonyms=("bike", "cycle")),
        *(f"label {number}" for number in range(13)),
    )
)
TEXTS = ("", "Dog", "dog's naïve café", "“quotes” &amp; ﬁn", "日本語 🐶🐕‍🦺", "x" * 300, "dog " * 200)


class ExportError(DataError):
    """A bundle that cannot be exported; the message says why."""


@torch.no_grad()
def export(path: Path, progress: Callable[[str, int, int], None]) -> BundleFiles:
    """The bundle in directory `path` with its ONNX files, compared with PyTorch but not written yet.

    `progress` gets the name of the next step, the number of steps done, and the number of all steps. Raises
    BundleError, and ExportError if a part has no ONNX form or gives different numbers there.
    """
    source, bundle = read_files(path), load_bundle(path)
    manifest = source.manifest
    if manifest.head.kind in _WITHOUT_GRAPHS:
        raise ExportError(
            f"{path} has a {manifest.head.kind} head, which {_WITHOUT_GRAPHS[manifest.head.kind]}: only "
            "PyTorch serves it"
        )
    contents = {name: source.contents[name] for name in manifest.file_names}
    if not manifest.backbone.has_tokenizer_file:
        contents[ONNX_TOKENIZER] = _clip_tokenizer(bundle)
    sizes = _sizes(bundle)
    names = sorted(manifest.onnx_file_names - {ONNX_TOKENIZER})
    for number, name in enumerate(names):
        progress(name, number, len(names) + 1)
        try:
            step = STEPS[Path(name).stem](bundle.model)
            contents[name] = to_onnx(step, sizes, contents[WEIGHTS])
        except Exception as error:  # the exporter's errors have no narrower base
            raise ExportError(f"{path}: there is no ONNX form of {name} ({_reason(error)})") from error
    progress("comparing with PyTorch", len(names), len(names) + 1)
    entry = {
        "format": f"ONNX, opset {OPSET}, float32",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {package: version(package) for package in ("torch", "onnxscript", "onnx")},
        "largest_relative_difference": _largest_difference(bundle, make_files(manifest, contents)),
    }
    progress("", len(names) + 1, len(names) + 1)
    provenance = manifest.provenance | {"export": entry}
    return make_files(manifest.model_copy(update={"provenance": provenance}), contents)


def _reason(error: BaseException) -> str:
    """The first line of the root cause: the exporter's own messages are advice for its developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _sizes(bundle: Bundle) -> dict[str, int]:
    """Sizes of the dimensions of `sigrl.training.bundles.onnx_graphs.Step`, and the grid's `h` and `w`."""
    side = bundle.manifest.preprocessing.image_size
    features = bundle.model.backbone.encode_images(torch.zeros(1, 3, side, side))
    height, width = features.grid
    text = bundle.model.backbone.tokenize(["dog"])
    sizes = {"B": 2, "n": 3, "C": 5, "N": 4, "L": 6, "1": 1, "3": 3}
    sizes |= {"S": side, "P": height * width, "h": height, "w": width, "T": text.shape[1]}
    sizes["D"] = bundle.manifest.backbone.embed_dim
    if features.region_features is not None:
        sizes["R"], sizes["E"] = features.region_features.shape[1:]
    graph: Any = getattr(bundle.model.head, "graph", None)
    if graph is not None:
        sizes |= {"H": graph.hidden.heads, "F": len(graph.hidden.attention)}
    return sizes


def _clip_tokenizer(bundle: Bundle) -> bytes:
    """CLIP's tokenizer.json, checked against open_clip's tokenizer. Raises ExportError if they differ."""
    backbone = bundle.model.backbone
    texts = [*TEXTS, *bundle.manifest.head.context_labels]
    expected = backbone.tokenize(texts)
    definition = clip_tokenizer_definition(expected.shape[1])
    tokenize = with_prompt(PublishedTokenizer(definition, CLIP_TOKENIZER), bundle.manifest.backbone)
    for text, ours, theirs in zip(texts, tokenize(texts), expected, strict=True):
        if not np.array_equal(ours, theirs):
            raise ExportError(f"the text {text!a} has other tokens without open_clip: please report this")
    return definition


def _largest_difference(bundle: Bundle, files: BundleFiles) -> float:
    """The largest relative difference between the engines in all their outputs for random photographs and
    some labels. Takes over the bundle's model. Raises ExportError if it is above the tolerance."""
    size = bundle.manifest.preprocessing.image_size
    pixel_values = np.random.default_rng(0).standard_normal((3, 3, size, size), dtype=np.float32)
    ours = _answers(OnnxEngine(files, "cpu"), pixel_values)
    expected = _answers(TorchEngine(bundle, "cpu", precision="float32"), pixel_values)
    largest = 0.0
    for name, values in expected.items():
        difference = float(np.abs(ours[name] - values).max() / np.abs(values).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"on ONNX Runtime, {name} differ by {difference:.1e} of the largest value; the limit is "
                f"{TOLERANCE}: this checkpoint cannot be exported"
            )
        largest = max(largest, difference)
    return largest


def _answers(engine: Engine, pixel_values: np.ndarray) -> Mapping[str, np.ndarray]:
    images, labels = engine.encode_images(pixel_values), engine.encode_labels(LABELS)
    tokens = images.patch_tokens if images.rebuilt_tokens is None else images.rebuilt_tokens
    return {
        "image embeddings": np.asarray(images.image_embeddings),
        "patch tokens": np.asarray(images.patch_tokens),
        "rebuilt patch tokens": np.asarray(tokens),
        "label embeddings": np.asarray(labels.label_embeddings),
        "refined labels": np.asarray(labels.refined),
        "scores": engine.score(images, labels),
        "explanations": engine.explain(images, labels),
    }
