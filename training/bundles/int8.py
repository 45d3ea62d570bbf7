"""`sigrl-train export --int8`: the image tower's graph in int8, quantised by NNCF on photographs."""

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto
from onnxscript import optimizer

from sigrl.model.bundle_files import BundleFiles, make_files
from sigrl.model.config import Preprocessing
from sigrl.model.manifest import WEIGHTS
from sigrl.model.onnx_graphs import Graph
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.dataset import DataError
from sigrl.training.terminal import shown

# Without this, NNCF reports every use to its makers. It reads the variable when it is imported.
os.environ["NNCF_CI"] = "1"

import nncf

TOWER = "image_tower.onnx"
MOST_PHOTOGRAPHS = 300
"""Photographs that NNCF measures activations on; its own default."""
COMPARED_PHOTOGRAPHS = 64
LEAST_COSINE = 0.95
"""Smallest mean cosine allowed between an output in int8 and in float32. The bundled checkpoint loses 0.1 mAP
at 0.988 and 0.5 at 0.970: docs/benchmarks.md."""
_MOST_BYTES = 2**31 - 1


def with_int8_tower(files: BundleFiles, photographs: Sequence[Path]) -> BundleFiles:
    """The bundle with its image tower's graph in int8; weights and other graphs stay as they are.

    `files` has graphs. Activations are measured on at most `MOST_PHOTOGRAPHS` of the photographs, evenly
    spaced. The graph holds its own int8 weights. Shows progress bars. Raises DataError for a photograph that
    cannot be read, for a tower of more than 2 GiB in float32, and if int8 changes the tower's outputs by more
    than `LEAST_COSINE` allows.
    """
    manifest, weights = files.manifest, files.contents[WEIGHTS]
    chosen = _evenly(photographs, MOST_PHOTOGRAPHS)
    model = _with_weights(files.contents[TOWER], weights)
    quantised = _quantise(model, chosen, manifest.preprocessing)
    towers = [Graph(each, weights, "cpu") for each in (files.contents[TOWER], quantised)]
    compared = _shown_pixel_values(_evenly(photographs, COMPARED_PHOTOGRAPHS), manifest.preprocessing)
    cosines = _cosines(*towers, [each.name for each in model.graph.output], compared)
    for name, cosine in cosines.items():
        if not cosine >= LEAST_COSINE:
            raise DataError(
                f"in int8 the tower's {name} have a mean cosine of {cosine:.3f} to those in float32; the "
                f"limit is {LEAST_COSINE}: int8 does not suit this image tower, export it without --int8"
            )
    made = {"precision": "int8", "nncf": version("nncf"), "photographs": len(chosen), "cosines": cosines}
    export = manifest.provenance["export"] | {"image_tower": made}
    description = manifest.model_copy(update={"provenance": manifest.provenance | {"export": export}})
    return make_files(description, {**files.contents, TOWER: quantised})


def _with_weights(graph: bytes, weights: bytes) -> ModelProto:
    """The graph with its weights inside, in float32, each as the direct input of its product: NNCF finds
    weights nowhere else."""
    with tempfile.TemporaryDirectory(prefix="sigrl-") as folder:
        Path(folder, WEIGHTS).write_bytes(weights)
        Path(folder, TOWER).write_bytes(graph)
        model = onnx.load(Path(folder, TOWER))
    model = optimizer.optimize(model, input_size_limit=_MOST_BYTES, output_size_limit=_MOST_BYTES)
    if model.ByteSize() > _MOST_BYTES:
        raise DataError("the image tower exceeds 2 GiB in float32, the limit of ONNX: export without --int8")
    # The exporter leaves some of them without a type, which NNCF does not expect.
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def _quantise(model: ModelProto, photographs: Sequence[Path], preprocessing: Preprocessing) -> bytes:
    # Its own function would also change the level of handlers that others have added.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    (name,) = (each.name for each in model.graph.input)
    dataset = nncf.Dataset(photographs, lambda path: {name: read_photograph(path, preprocessing)[None]})
    quantised = nncf.quantize(
        model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(photographs)
    )
    content: bytes = quantised.SerializeToString()
    return content


def _cosines(
    exact: Graph, quantised: Graph, names: Sequence[str], photographs: Iterable[npt.NDArray[np.float32]]
) -> dict[str, float]:
    """The mean cosine between the outputs of the two graphs, by their names, over pixel values [1, 3, S, S].
    The mean over all photographs is subtracted first, because it tells no photographs apart."""
    outputs = [[graph(pixel_values=each) for graph in (exact, quantised)] for each in photographs]
    cosines = {}
    for number, name in enumerate(names):
        pair = (np.concatenate([both[side][number] for both in outputs]) for side in (0, 1))
        cosines[name] = _mean_cosine(*(rows.reshape(-1, rows.shape[-1]) for rows in pair))
    return cosines


def _mean_cosine(exact: npt.NDArray[np.float32], quantised: npt.NDArray[np.float32]) -> float:
    """Of [N, D] and [N, D]."""
    left, right = exact - exact.mean(axis=0), quantised - exact.mean(axis=0)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    # Rows without a length are the same on all photographs, so that no direction can change.
    differs = lengths > 0
    return float(np.mean((left * right).sum(axis=1)[differs] / lengths[differs])) if differs.any() else 1.0


def _shown_pixel_values(
    paths: Sequence[Path], preprocessing: Preprocessing
) -> Iterator[npt.NDArray[np.float32]]:
    with shown("comparing int8 with float32") as show:
        for number, path in enumerate(paths):
            show("", number, len(paths))
            yield read_photograph(path, preprocessing)[None]
        show("", len(paths), len(paths))


def _evenly(paths: Sequence[Path], most: int) -> Sequence[Path]:
    """At most this many of them, evenly spaced."""
    return [paths[place] for place in np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int)]
