"""Runs a bundle's graphs as compiled OpenVINO models, on the CPU. Imports without torch."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import openvino

from sigrl.model.graph_engine import GraphError
from sigrl.model.manifest import WEIGHTS
from sigrl.model.openvino_streams import StreamedGraph, stream_count

Precision = Literal["float32", "bfloat16"]

MOST_BYTES = 2 * 2**30
"""Size limit of a cache of compiled models, in bytes; the most recently read ones stay."""
CORE = openvino.Core()
"""OpenVINO in this process, until it ends. OpenVINO 2026.4 gives the thread that first uses the CPU a stack
for signal handlers, and unmaps it with the last core and model, in whichever thread that happens. The next
signal of the first thread, such as SIGTERM, would kill the process without a word."""
_SUFFIX = ".openvino"
_DEVICE = "CPU"
_logger = logging.getLogger("sigrl")


def multiplies_in_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16: AMX or AVX512-BF16 on x86."""
    return "BF16" in CORE.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")


class Compiler:
    """Compiles the graphs of one checkpoint, or reads models compiled earlier from a folder.

    The file name of a compiled model is a hash of everything the model depends on: the checkpoint, the graph,
    the precision, OpenVINO's version and the CPU. Files appear whole or not at all, so that processes can
    share the folder. A bad file cannot fail a load: a model that cannot be read is compiled again.
    """

    def __init__(
        self,
        contents: Mapping[str, bytes],
        weights: bytes,
        checkpoint_id: str,
        threads: int,
        cache: Path | None,
    ) -> None:
        """`contents` are the graphs by name, and `weights` is the content of the file that they refer to.
        `threads` is the maximum for one call. The folder `cache` is made when it is first needed; with None
        nothing is kept."""
        self._contents, self._weights, self._checkpoint_id = contents, weights, checkpoint_id
        self.threads, self._cache = threads, cache

    def compile(self, name: str, precision: Precision, streams: int = 1) -> openvino.CompiledModel:
        """The compiled model of one graph, which runs `streams` calls at once. Raises GraphError."""
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": self.threads,
            # Pinned threads would wait for their cores whenever other work runs on them.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            # Otherwise activations would be rounded to int8 wherever weights are stored as int8.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        path = self._path(name, precision)
        if path is not None and (kept := self._read(path, config)) is not None:
            return kept
        try:
            # OpenVINO reads external data only from files.
            with tempfile.TemporaryDirectory(prefix="sigrl-") as folder:
                graph = Path(folder, f"{name}.onnx")
                graph.write_bytes(self._contents[name])
                if WEIGHTS.encode() in self._contents[name]:
                    graph.with_name(WEIGHTS).write_bytes(self._weights)
                # No memory mapping: on Windows a mapped file cannot be removed.
                model = CORE.read_model(graph, config={"ENABLE_MMAP": False})
                compiled = CORE.compile_model(model, _DEVICE, config)
        except RuntimeError as error:
            raise GraphError(f"{name}.onnx: {_reason(error)}") from error
        if path is not None:
            _keep(compiled, path)
        return compiled

    def _path(self, name: str, precision: Precision) -> Path | None:
        if self._cache is None:
            return None
        processor = [
            CORE.get_property(_DEVICE, key) for key in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
        ]
        key = "\n".join(map(str, (self._checkpoint_id, name, precision, openvino.__version__, *processor)))
        return self._cache / (hashlib.sha256(key.encode()).hexdigest() + _SUFFIX)

    def _read(self, path: Path, config: dict[str, Any]) -> openvino.CompiledModel | None:
        try:
            with path.open("rb") as file:
                content = file.read()
            with suppress(OSError):  # the folder may be read-only
                os.utime(path)
            return CORE.import_model(content, _DEVICE, config)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:
            _logger.warning("%s cannot be used and is compiled again: %s", path, _reason(error))
            return None


class Graph:
    """One graph. Several threads may call it at once; they wait for one another, because each call uses all
    of OpenVINO's threads. The graph is compiled by its first call, or by `open`."""

    def __init__(self, compile_graph: Callable[[], openvino.CompiledModel]) -> None:
        self._compile: Callable[[], openvino.CompiledModel] | None = compile_graph
        self._lock = Lock()

    def open(self) -> None:
        """Compiles the graph. The caller holds the lock or has not yet shared it. Raises GraphError."""
        if self._compile is not None:
            compiled = self._compile()
            # An input that is also an output carries the names of both.
            self._inputs = [each.names for each in compiled.inputs]
            self._request = compiled.create_infer_request()
            self._compile = None  # it would keep the bundle's weights in memory

    def __call__(self, **arrays: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
        """See `sigrl.model.graph_engine.Graph`."""
        with self._lock:
            self.open()
            given = [next(arrays[name] for name in names if name in arrays) for names in self._inputs]
            # Every call shares its inputs. OpenVINO 2026.4 corrupted memory where calls of one compiled model
            # shared some inputs and copied others, with requests made anew for each.
            found = self._request.infer(dict(enumerate(given)), share_inputs=True)
            return [found[output] for output in self._request.model_outputs]


def open_graphs(
    compiler: Compiler, names: list[str], precision: Precision
) -> dict[str, Graph | StreamedGraph]:
    """The graphs by name: the image tower in `precision`, the others in float32. The text tower is compiled
    by its first call, because labels encoded earlier do not need it. Raises GraphError."""
    graphs = {
        name: Graph(partial(compiler.compile, name, precision if name == "image_tower" else "float32"))
        for name in names
    }
    for name, graph in graphs.items():
        if name != "text_tower":
            graph.open()
    streams = stream_count(compiler.threads)
    tower = StreamedGraph(
        graphs["image_tower"], partial(compiler.compile, "image_tower", precision, streams), streams
    )
    return graphs | {"image_tower": tower}


def _keep(compiled: openvino.CompiledModel, path: Path) -> None:
    unfinished: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".unfinished-", delete=False) as file:
            unfinished = Path(file.name)
            file.write(compiled.export_model().getvalue())
        unfinished.replace(path)
        files = sorted(path.parent.glob(f"*{_SUFFIX}"), key=lambda each: each.stat().st_mtime, reverse=True)
        for each, total in zip(files, accumulate(each.stat().st_size for each in files), strict=True):
            if total > MOST_BYTES:
                each.unlink()
    except (OSError, RuntimeError) as error:
        _logger.warning("a compiled model cannot be written: %s", _reason(error))
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[-1]
