"""Runs the image tower on several photographs at once, each part of a batch on threads of its own."""

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

PART = 2
"""Photographs of a part. Larger ones save no time, and leave threads without work at the end of a batch."""
MOST_STREAMS = 4
Arrays = list[npt.NDArray[np.float32]]


def stream_count(threads: int) -> int:
    """How many parts of a batch run at once on this many threads."""
    return min(threads, MOST_STREAMS)


class StreamedGraph:
    """A graph with one input whose rows are independent, such as the image tower.

    A single row runs on all threads, which is fastest for it. More rows are cut into parts, and each part
    runs on threads of its own: threads that share a layer wait for the slowest of them after every layer,
    which costs most when other work, such as decoding, takes a core away for a moment.

    Several threads may call it at once. The second model is compiled by the first call that needs it, so that
    a command that tags one photograph does not wait for it.
    """

    def __init__(
        self,
        alone: Callable[..., Arrays],
        compile_streams: Callable[[], openvino.CompiledModel],
        streams: int,
    ) -> None:
        """`alone` runs one row. `compile_streams` makes the model with this many `streams`."""
        self._alone, self._compile, self._streams = alone, compile_streams, streams
        self._queue: openvino.AsyncInferQueue | None = None
        self._lock = Lock()

    def __call__(self, **arrays: npt.NDArray[Any]) -> Arrays:
        """See `sigrl.model.graph_engine.Graph`; takes exactly one array, [B, ...]."""
        (rows,) = arrays.values()
        if len(rows) == 1 or self._streams == 1:
            return self._alone(**arrays)
        size = min(PART, -(-len(rows) // self._streams))
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        found: dict[int, Arrays] = {}

        def keep(request: openvino.InferRequest, number: int) -> None:
            # The next part overwrites the request's own memory.
            found[number] = [np.array(output.data) for output in request.output_tensors]

        with self._lock:
            if self._queue is None:
                self._queue = openvino.AsyncInferQueue(self._compile(), self._streams)
            self._queue.set_callback(keep)
            for number, part in enumerate(parts):
                self._queue.start_async([part], number, share_inputs=True)
            self._queue.wait_all()
        return [np.concatenate(outputs) for outputs in zip(*map(found.get, range(len(parts))), strict=True)]
