"""Processes that decode photographs. Limits their number and the memory of all pictures together, and
replaces a process that does not answer in time."""

import atexit
import base64
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache
from threading import Condition, Timer
from typing import Any

import numpy as np
import numpy.typing as npt

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess
from sigrl.service.errors import (
    DamagedImageError,
    DeadlineError,
    ImageError,
    ImageTooLargeError,
    NotReadyError,
)
from sigrl.service.images import decoding as images
from sigrl.service.images.decoder_process import read_message, write_message
from sigrl.service.images.decoding_cost import DecodingCost, decoding_cost
from sigrl.service.images.files import ImageLimits
from sigrl.service.processes import environment, run_module
from sigrl.service.settings import Settings

_MOST_PROCESSES = 8
_PROCESS_BYTES = 128 * 2**20
"""Memory for a process's own modules, which take half of it."""
_COPIES_OF_FILE = 3
"""The file as received, the file without the parts that are not read, and the decoder's own copy."""
# A PNG of 8 x 8 pixels, used to check that the decoders answer.
_SAMPLE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR4nGM8wQABTAwUMQA6AADYhMgK6QAAAABJRU5ErkJggg=="
)
# One thread and one arena. The memory of a picture is returned to the system when it is freed.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
}


class DecoderPool:
    """Decodes photographs in processes. They are started when needed and reused. A process whose photograph
    takes too long is killed and replaced. Thread-safe: each caller waits in its own thread."""

    def __init__(self, processes: int, most_bytes: int, seconds: float) -> None:
        """`processes`: the largest number of processes. `most_bytes`: the memory for all pictures together.
        `seconds`: the time limit of one picture."""
        self._seconds = seconds
        self._memory = Shares(most_bytes)
        self._places = Shares(processes)
        self._idle: list[_Process] = []

    def pixel_values(
        self,
        data: bytes,
        limits: ImageLimits,
        preprocessing: Preprocessing,
        deadline: float,
        cost: DecodingCost | None = None,
    ) -> npt.NDArray[np.float32]:
        """The image tower's input for a photograph, float32 [3, S, S]. Small JPEGs and PNGs are decoded in
        the caller's thread, because sending them to another process can take longer than decoding them.

        Args:
            data: the file's content.
            limits: see `decode`.
            preprocessing: that of the checkpoint.
            deadline: a time of `time.monotonic`.
            cost: what `decoding_cost` has found, if the caller has already asked.

        Raises:
            DeadlineError: the photograph was not decoded by the deadline.
            ImageError: see `decode`; also for a picture that takes too long or too much memory.
        """
        cost = cost or decoding_cost(data, limits)
        if cost.is_cheap:
            with self._memory.taken(cost.memory_bytes, deadline):
                return _decode_here(data, limits, preprocessing)
        job = {"side": None, "preprocessing": preprocessing.model_dump(mode="json")}
        head, content = self._run(job, data, limits, cost.memory_bytes, deadline)
        return np.frombuffer(content, np.float32).reshape(head["shape"])

    def small_copy(
        self, data: bytes, limits: ImageLimits, deadline: float, side: int = images.COPY_SIDE
    ) -> bytes:
        """See `sigrl.service.images.decoding.small_copy`; raises as `pixel_values` does."""
        memory_bytes = decoding_cost(data, limits).memory_bytes
        return self._run({"side": side}, data, limits, memory_bytes, deadline)[1]

    def check(self, deadline: float) -> None:
        """Raises DeadlineError unless a process decodes a small photograph in time."""
        self.small_copy(_SAMPLE, ImageLimits(), deadline)

    def close(self) -> None:
        """Ends the idle processes. Busy ones are ended at their deadline."""
        while self._idle:
            self._idle.pop().kill()

    def _run(
        self, job: dict[str, Any], data: bytes, limits: ImageLimits, memory_bytes: int, deadline: float
    ) -> tuple[dict[str, Any], bytes]:
        # A place is taken first, because a caller that holds memory must not wait for anything else.
        with self._places.taken(1, deadline), self._memory.taken(memory_bytes, deadline) as room:
            process = self._idle_process() or _started(deadline)
            seconds = max(min(self._seconds, deadline - time.monotonic()), 0.0)
            memory = room + _PROCESS_BYTES + _COPIES_OF_FILE * len(data)
            head = {**job, "limits": asdict(limits), "seconds": seconds, "memory": memory}
            answer = process.ask(head, data, seconds)
            if answer is None:
                process.kill()
                raise _lost(seconds, process.was_late, seconds < self._seconds)
            self._idle.append(process)
        if "error" in answer[0]:
            raise _image_error(answer[0])
        return answer

    def _idle_process(self) -> "_Process | None":
        while self._idle:
            with suppress(IndexError):
                process = self._idle.pop()
                if process.is_alive:
                    return process
                process.kill()
        return None


@cache
def shared_pool(processes: int, most_bytes: int, seconds: float) -> DecoderPool:
    """The pool of this process. All callers with the same limits share it, so that the limits apply to the
    whole process. The pool's processes end with this one."""
    pool = DecoderPool(processes, most_bytes, seconds)
    atexit.register(pool.close)
    return pool


def pool_of(settings: Settings) -> DecoderPool:
    """The pool that the settings describe."""
    processes = min(settings.threads, _MOST_PROCESSES)
    return shared_pool(processes, settings.decode_bytes, settings.decode_seconds)


class Shares:
    """A number of bytes, or of other units, that callers share, first come, first served. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = self._free = most
        self._changed = Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def taken(self, wanted: int, deadline: float) -> Iterator[int]:
        """Holds `wanted` units, or all units if `wanted` is more, for the duration of a block. Yields the
        number held. Raises DeadlineError."""
        wanted, turn = min(wanted, self._most), object()
        with self._changed:
            self._waiting.append(turn)
            try:
                if not self._changed.wait_for(
                    lambda: self._waiting[0] is turn and self._free >= wanted,
                    max(deadline - time.monotonic(), 0),
                ):
                    raise DeadlineError(
                        "there was no room to decode the photograph in time", "try again, with fewer at once"
                    )
                self._free -= wanted
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            yield wanted
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


class _Process:
    def __init__(self) -> None:
        self.was_late = False
        self._child = subprocess.Popen(
            run_module("sigrl.service.images.decoder_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(**_ENVIRONMENT),
        )

    def starts(self, seconds: float) -> bool:
        """Waits until the process is ready for its first photograph. False if it ended, or was killed because
        it took longer than `seconds`."""
        with self._killed_after(seconds):
            return read_message(self._child.stdout) is not None  # type: ignore[arg-type]
        return False

    def ask(self, head: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytes] | None:
        """The answer, or None if the process ended or was killed because it took longer than `seconds`."""
        with self._killed_after(seconds):
            write_message(self._child.stdin, head, data)  # type: ignore[arg-type]
            return read_message(self._child.stdout)  # type: ignore[arg-type]
        return None

    @contextmanager
    def _killed_after(self, seconds: float) -> Iterator[None]:
        """Kills the process if the block, which writes to it or reads from it, takes longer than `seconds`.
        The block ends when the process does. A pipe has no timeout of its own, but a thread that waits for a
        pipe wakes up when the process ends."""
        timer = Timer(max(seconds, 0), self._be_late)
        timer.start()
        try:
            with suppress(OSError):
                yield
        finally:
            timer.cancel()

    @property
    def is_alive(self) -> bool:
        """Whether the process is still running."""
        return self._child.poll() is None

    def kill(self) -> None:
        """Ends the process at once."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _be_late(self) -> None:
        self.was_late = True
        self._child.kill()


def _started(deadline: float) -> _Process:
    """A new process that is ready for a photograph. The start, which takes seconds on a busy machine, does
    not count towards the photograph's time limit. Raises DeadlineError, NotReadyError."""
    process = _Process()
    if process.starts(deadline - time.monotonic()):
        return process
    process.kill()
    if process.was_late:
        raise DeadlineError("no decoder process started in time", "try again, with fewer at once")
    raise NotReadyError("a decoder process ended while it started", "see the service's log for the reason")


def _decode_here(data: bytes, limits: ImageLimits, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    try:
        return preprocess(images.decode(data, limits, 2 * preprocessing.image_size), preprocessing)
    except ImageError as error:
        failure = type(error)(error.detail, error.hint)
    # A new error is raised, because the traceback of the caught one would keep the picture in memory until
    # the request is answered.
    raise failure


def _lost(seconds: float, was_late: bool, is_request_over: bool) -> Exception:
    if not was_late:
        detail = "the decoder ended while it decoded the photograph"
        return DamagedImageError(detail, "save it as a new JPEG or PNG")
    if is_request_over:
        return DeadlineError("the photograph was not decoded in time", "try again, with fewer at once")
    return ImageTooLargeError(
        f"decoding the photograph takes longer than {seconds:g} s", "save it as a new, smaller JPEG or PNG"
    )


def _image_error(head: dict[str, Any]) -> ImageError:
    kinds = {kind.code: kind for kind in ImageError.__subclasses__()}
    return kinds[head["error"]](head["detail"], head["hint"])
