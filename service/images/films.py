"""Takes frames out of films, in a process that is killed if it hangs."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any

from sigrl.service.errors import DamagedImageError, ImageError, ParameterError
from sigrl.service.images.files import ImageLimits
from sigrl.service.processes import environment, run_module

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".3gp", ".wmv"}
)
"""Suffixes of films, in lower case."""
EVERY_SECONDS = 2.0
_MOST_FRAMES = 1000
_SIDE = 1024
_MOST_BYTES = 2 * 2**30
_START_SECONDS = 60.0
"""Time for the process to start, which takes seconds on a busy machine."""
_LEAST_SHARE = 0.9
"""A film of which less can be decoded is damaged."""


@dataclass(frozen=True)
class Job:
    """The task of the process that takes the frames."""

    film: str
    folder: str
    """Where the frames are written."""
    every_seconds: float
    """Longest time between two frames of the same scene."""
    most_frames: int
    """If the film is so long that there would be more, the frames are farther apart."""
    side: int
    """Longest side of a frame in pixels; larger ones are reduced."""
    most_pixels: int
    """Width times height of the largest frame that is decoded."""
    most_bytes: int
    """Memory that the process may take."""


@dataclass(frozen=True)
class Frame:
    """A picture of a film."""

    seconds: float
    """Time from the film's beginning."""
    path: Path


@dataclass(frozen=True)
class Film:
    """The frames that were taken out of a film."""

    frames: tuple[Frame, ...]
    seconds: float
    """Time of the last picture that was decoded."""
    error: ImageError | None = None
    """Why the frames are not of the whole film, if it is damaged."""


def is_film(path: Path) -> bool:
    """Whether the path is named like a film."""
    return path.suffix.lower() in SUFFIXES


def take_frames(
    film: Path, folder: Path, limits: ImageLimits, seconds: float, progress: Callable[[float | None], None]
) -> Film:
    """Writes a frame every two seconds, and one more where a scene changes, to `folder`. In long
    films they are farther apart, so that there are about a thousand.

    Args:
        film: the file.
        folder: an empty folder.
        limits: for the number of pixels of a frame.
        seconds: longest time without a decoded picture, after which the process is killed.
        progress: called with the share of the film that is done; None if its length is unknown.

    Raises:
        DamagedImageError: not a single picture can be decoded.
        ParameterError: PyAV is not installed.
    """
    if find_spec("av") is None:
        raise ParameterError("PyAV, which reads films, is not installed", "pip install 'sigrl-tagger[video]'")
    job = Job(
        str(film.absolute()), str(folder), EVERY_SECONDS, _MOST_FRAMES, _SIDE, limits.max_pixels, _MOST_BYTES
    )
    frames: list[Frame] = []
    duration: float | None = None
    at, told = 0.0, None
    with _Process(job) as process:
        process.next_line(_START_SECONDS)
        while (line := process.next_line(seconds)) is not None:
            if "duration" in line:
                duration = line["duration"]
            elif "error" in line:
                told = str(line["error"])
            else:
                at = line["at"]
                if "file" in line:
                    frames.append(Frame(at, folder / line["file"]))
                progress(min(at / duration, 1.0) if duration else None)
        told = told or process.complaint()
    if told is None and duration is not None and at < _LEAST_SHARE * duration - EVERY_SECONDS:
        told = f"it breaks off after {at:.0f} of {duration:.0f} seconds"
    error = None
    if told is not None or not frames:
        error = DamagedImageError(
            f"the film cannot be decoded: {told or 'it has no picture'}",
            "check whether a player can show it; ffmpeg repairs some damage: ffmpeg -i FILM -c copy NEW.mkv",
        )
    if error is not None and not frames:
        raise error
    return Film(tuple(frames), at, error)


class _Process:
    def __init__(self, job: Job) -> None:
        self._was_late, self._ended = False, False
        self._child = subprocess.Popen(
            run_module("sigrl.service.images.film_process", json.dumps(asdict(job))),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()

    def next_line(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None if the process ended, or was killed because none came in time."""
        timer = Timer(seconds, self._be_late)
        timer.start()
        try:
            assert self._child.stdout is not None
            line = self._child.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = json.loads(line)
        self._ended = self._ended or "end" in message or "error" in message
        return message

    def complaint(self) -> str | None:
        """What went wrong with a process that did not say how it ended."""
        if self._was_late:
            return "no picture came in time"
        return None if self._ended else "the decoder crashed"

    def _be_late(self) -> None:
        self._was_late = True
        self._child.kill()
