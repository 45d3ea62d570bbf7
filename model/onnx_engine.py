"""The engine on ONNX Runtime. Imports and runs without torch."""

from pathlib import Path

from sigrl.model.bundle_files import BundleFiles, bundled_path, read_files
from sigrl.model.graph_engine import GraphEngine
from sigrl.model.manifest import WEIGHTS
from sigrl.model.onnx_graphs import open_graphs


class OnnxEngine(GraphEngine):
    """A bundle with graphs on ONNX Runtime, in float32; the image tower in int8 if its graph says so."""

    def __init__(
        self, files: BundleFiles, device: str | None = None, *, svfr_labels: int | None = None
    ) -> None:
        """`device` is "cpu", "cuda" or "tensorrt", with ":1" for the second GPU; the default is CUDA if it
        works, else the CPU. Raises as `GraphEngine` does, and ValueError for a device that cannot be used
        here."""
        weights = files.contents[WEIGHTS]
        super().__init__(files, lambda contents: open_graphs(contents, weights, device), svfr_labels)

    @classmethod
    def load(
        cls, path: Path | None = None, device: str | None = None, *, svfr_labels: int | None = None
    ) -> "OnnxEngine":
        """The engine of the bundle in directory `path`; None means the bundled one. Raises BundleError, and
        ValueError for the device."""
        return cls(read_files(bundled_path() if path is None else path), device, svfr_labels=svfr_labels)
