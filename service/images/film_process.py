"""A process that takes frames out of a film for the process that started it, which can kill it at any time.

Its argument is a `Job` as JSON. It writes the frames as JPEG files, and prints a line of JSON for each of
them, and now and then one that says how far it is. It does not import torch.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sigrl.service.images.films import Job

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf"
"""FFmpeg's names of the formats that are read. Playlists, which name other files and addresses, are not."""
SCENE_SECONDS = 0.5
"""Minimum time between two frames of different scenes."""
_SCENE_CHANGE = 0.15
"""Mean absolute difference of two grey thumbnails, 0 to 1, from which on they show different scenes."""
_THUMBNAIL = 32
_QUALITY = 90


def main() -> None:
    """Prints an empty message to say that it is ready, does the job of the first argument, and ends."""
    job = Job(**json.loads(sys.argv[1]))
    _limit_memory(job.most_bytes)
    # Imported here, because the parent has checked that it is installed.
    import av

    try:
        print("{}", flush=True)
        for line in _take_frames(job):
            print(json.dumps(line), flush=True)
    except (av.FFmpegError, ValueError, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
    except MemoryError:
        print(json.dumps({"error": "decoding it needs more memory than is allowed"}), flush=True)


def _take_frames(job: Job) -> Iterator[dict[str, Any]]:
    """Yields `{"duration": seconds or null}` first, then `{"at": seconds, "file": name}` for each frame and
    `{"at": seconds}` now and then, and at last `{"at": seconds, "end": true}`. Raises ValueError for what is
    no film that may be decoded."""
    import av

    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    with av.open(job.film, options=options, metadata_errors="ignore") as container:
        if not container.streams.video:
            raise ValueError("it has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if stream.width * stream.height > job.most_pixels:
            raise ValueError(f"its pictures have {stream.width} x {stream.height} pixels, more than allowed")
        duration = None if container.duration is None else container.duration / av.time_base
        yield {"duration": duration}
        every = max(job.every_seconds, (duration or 0.0) / job.most_frames)
        taken = looked = -float("inf")
        count, scene, at = 0, np.zeros((_THUMBNAIL, _THUMBNAIL)), 0.0
        frame_seconds = 1 / float(stream.average_rate or 25)
        for frame in container.decode(stream):
            at = at + frame_seconds if frame.time is None else frame.time
            if at - looked < SCENE_SECONDS:
                continue
            looked = at
            thumbnail = _thumbnail(frame)
            is_new = float(np.abs(thumbnail - scene).mean()) >= _SCENE_CHANGE and count < job.most_frames
            if is_new or at - taken >= every:
                taken, scene = at, thumbnail
                count += 1
                if count > 2 * job.most_frames:
                    raise ValueError("it is much longer than its header states")
                yield {"at": at, "file": _save(frame, at, Path(job.folder), count, job.side)}
            else:
                yield {"at": at}
        yield {"at": at, "end": True}


def _thumbnail(frame: Any) -> npt.NDArray[np.float64]:
    """Grey values from 0 to 1, [32, 32]."""
    grey = frame.reformat(width=_THUMBNAIL, height=_THUMBNAIL, format="gray").to_ndarray()
    return np.asarray(grey, np.float64) / 255


def _save(frame: Any, at: float, folder: Path, number: int, side: int) -> str:
    picture: Image.Image = frame.to_image()
    # Telephones store films as the sensor lies and say how far to turn them.
    if frame.rotation:
        picture = picture.rotate(frame.rotation, expand=True)
    picture.thumbnail((side, side))
    minutes, seconds = divmod(at, 60)
    # A contact sheet shows the name.
    name = f"{number:05} {int(minutes)}m{seconds:04.1f}s.jpg"
    picture.save(folder / name, quality=_QUALITY)
    return name


def _limit_memory(most: int) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
