"""A process that decodes photographs, one after the other, for the process that started it.

It can be killed at any moment. It has its own limits for memory and for the time of a photograph, and imports
neither torch nor the service. A message in the pipes is never a pickle: it is a line of JSON, which says how
many bytes follow, and those bytes.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess
from sigrl.service.errors import ImageError, ImageTooLargeError
from sigrl.service.images.decoding import decode, small_copy
from sigrl.service.images.files import ImageLimits

_SECONDS_AFTER_DEADLINE = 5
"""The parent kills a late process itself. This limit is for a process whose parent is gone."""


def write_message(pipe: BinaryIO, head: dict[str, Any], content: bytes | memoryview = b"") -> None:
    """Writes one message. Raises OSError if the other side is gone."""
    pipe.write(json.dumps({**head, "bytes": len(content)}).encode() + b"\n")
    pipe.write(content)
    pipe.flush()


def read_message(pipe: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Reads one message. None if the other side is gone."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    content = pipe.read(head["bytes"])
    return (head, content) if len(content) == head["bytes"] else None


def main() -> None:
    """Sends an empty message to say that it is ready, then answers until the other side closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs = sys.stdin.buffer
    # Some decoders print to stdout, so the answers go through another descriptor.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        write_message(answers, {})
        while (job := read_message(jobs)) is not None:
            head, data = job
            signal.alarm(int(head["seconds"]) + _SECONDS_AFTER_DEADLINE)
            _limit_memory(head["memory"])
            answer, content = _answer(head, data)
            del job, data
            signal.alarm(0)
            write_message(answers, answer, content)


def _answer(head: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    limits = ImageLimits(**head["limits"])
    try:
        if head["side"] is not None:
            return {}, small_copy(data, limits, head["side"])
        preprocessing = Preprocessing(**head["preprocessing"])
        # At twice the tower's input size, the filter of the final resize still determines every pixel.
        rgb = decode(data, limits, 2 * preprocessing.image_size)
        values = preprocess(rgb, preprocessing)
        return {"shape": values.shape}, values.data.cast("B")
    except ImageError as error:
        return {"error": error.code, "detail": error.detail, "hint": error.hint}, b""
    except MemoryError:
        detail = "decoding the photograph needs more memory than is allowed"
        return {"error": ImageTooLargeError.code, "detail": detail, "hint": "scale it down"}, b""


def _limit_memory(most: int) -> None:
    """Limits the memory of this process to `most` bytes; only on Linux, where the limit is reliable."""
    if sys.platform == "linux":
        import resource

        # An operator's own limit stays: it cannot be raised.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


if __name__ == "__main__":
    main()
