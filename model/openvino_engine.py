"""The engine on OpenVINO, for CPUs. Imports and runs without torch."""

from collections.abc import Mapping
from pathlib import Path

from sigrl.model.bundle_files import BundleFiles, bundled_path, read_files
from sigrl.model.graph_engine import Graph, GraphEngine
from sigrl.model.manifest import WEIGHTS
from sigrl.model.openvino_graphs import Compiler, Precision, multiplies_in_bfloat16, open_graphs
from sigrl.model.processors import available_processors


class OpenVinoEngine(GraphEngine):
    """A bundle with graphs on OpenVINO. The image tower runs in bfloat16 if the CPU multiplies in it, and its
    products in int8 if its graph says so; everything else runs in float32."""

    def __init__(
        self,
        files: BundleFiles,
        *,
        precision: str = "auto",
        threads: int | None = None,
        cache: Path | None = None,
        svfr_labels: int | None = None,
    ) -> None:
        """Args:
            files: from `read_files`.
            precision: precision of the image tower: "float32", "bfloat16", or "auto" for the faster one here.
                In a tower with an int8 graph it is that of the steps between the products.
            threads: maximum for one call; it is capped at the number of cores that the process may use.
            cache: folder for compiled models, which later loads read; with None every load compiles.
            svfr_labels: see `GraphEngine`.

        Raises BundleError as `GraphEngine` does, and ValueError for an unknown precision.
        """
        hint = _choose_precision(precision)

        def opened(contents: Mapping[str, bytes]) -> tuple[Mapping[str, Graph], str]:
            most = min(threads or available_processors(), available_processors())
            compiler = Compiler(contents, files.contents[WEIGHTS], files.checkpoint_id, most, cache)
            return open_graphs(compiler, list(contents), hint), "cpu"

        super().__init__(files, opened, svfr_labels)
        self.precision = "int8" if self.has_int8_tower else hint
        """Precision of the image tower's products."""

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        precision: str = "auto",
        threads: int | None = None,
        cache: Path | None = None,
        svfr_labels: int | None = None,
    ) -> "OpenVinoEngine":
        """The engine of the bundle in directory `path`; None means the bundled one. Raises as the constructor
        does."""
        files = read_files(bundled_path() if path is None else path)
        return cls(files, precision=precision, threads=threads, cache=cache, svfr_labels=svfr_labels)


def _choose_precision(choice: str) -> Precision:
    if choice == "auto":
        return "bfloat16" if multiplies_in_bfloat16() else "float32"
    if choice == "float32":
        return "float32"
    if choice == "bfloat16":
        return "bfloat16"
    raise ValueError(f"OpenVINO computes in float32 or bfloat16, not in {choice}")
