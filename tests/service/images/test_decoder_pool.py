"""What is decoded is bounded in bytes and in time, whatever comes, and a process that fails is replaced."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import costly_images as costly
import numpy as np
import pytest
import sample_images as samples
from PIL import Image

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess
from sigrl.service import errors
from sigrl.service.images import decoder_pool
from sigrl.service.images.decoder_pool import DecoderPool, Shares
from sigrl.service.images.decoding import decode
from sigrl.service.images.files import ImageLimits

PREPROCESSING = Preprocessing(image_size=32)
LIMITS = ImageLimits()


def _later(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(1, 256 * 2**20, 60.0)
    yield pool
    pool.close()


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_pixel_values_match_in_process_decoding(pool: DecoderPool, form: str) -> None:
    data = samples.encode(samples.picture(), form)
    expected = preprocess(decode(data, LIMITS, 64), PREPROCESSING)
    found = pool.pixel_values(data, LIMITS, PREPROCESSING, _later())
    np.testing.assert_array_equal(found, expected)


def test_small_copy_returns_a_reduced_jpeg(pool: DecoderPool) -> None:
    copy = pool.small_copy(samples.jpeg(1600, 1200), LIMITS, _later(), side=100)
    assert Image.open(BytesIO(copy)).size == (100, 75)


def test_image_errors_are_passed_on_and_the_process_is_reused(pool: DecoderPool) -> None:
    data = samples.encode(samples.picture(), "WEBP")
    pool.check(_later())
    (process,) = pool._idle
    for bad, kind in ((data[:60], errors.DamagedImageError), (b"GIF87", errors.DamagedImageError)):
        with pytest.raises(kind) as caught:
            pool.pixel_values(bad, LIMITS, PREPROCESSING, _later())
        assert caught.value.hint
    assert pool._idle == [process]


def test_damaged_image_error_does_not_reference_the_image(pool: DecoderPool) -> None:
    whole = samples.encode(samples.picture().resize((400, 300)), "PNG")
    with pytest.raises(errors.DamagedImageError) as caught:
        pool.pixel_values(whole[: len(whole) // 2], LIMITS, PREPROCESSING, _later())
    # Pillow's own, whose traceback leads to the decoder's frames.
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_process_that_exceeds_the_time_limit_is_replaced(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.check(_later())
    (process,) = pool._idle
    monkeypatch.setattr(pool, "_seconds", 3.0)
    os.kill(process._child.pid, 19)  # SIGSTOP: it answers nothing any more.
    with pytest.raises(errors.ImageTooLargeError, match="longer than 3 s"):
        pool.check(_later())
    assert not process.is_alive
    monkeypatch.setattr(pool, "_seconds", 60.0)
    pool.check(_later())


def test_process_startup_does_not_count_as_decoding_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python imports it first, in the process that decodes as in every other one.
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(4)")
    monkeypatch.syspath_prepend(tmp_path)
    pool = DecoderPool(1, 256 * 2**20, 3.0)
    with pytest.raises(errors.DeadlineError, match="started in time"):
        pool.check(_later(0.5))
    pool.check(_later())
    pool.close()


def test_process_that_cannot_start_raises_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.NotReadyError, match="while it started"):
        DecoderPool(1, 256 * 2**20, 60.0).check(_later())


def test_request_deadline_ends_the_decoding(pool: DecoderPool) -> None:
    pool.check(_later())
    (process,) = pool._idle
    os.kill(process._child.pid, 19)
    began = time.monotonic()
    with pytest.raises(errors.DeadlineError):
        pool.check(_later(1.0))
    assert time.monotonic() - began < 30
    pool.check(_later())


def test_crashed_process_fails_only_one_image(pool: DecoderPool) -> None:
    pool.check(_later())
    (process,) = pool._idle
    process.ask = lambda *_: process._child.kill()  # type: ignore[method-assign, assignment]
    with pytest.raises(errors.DamagedImageError, match="decoder ended"):
        pool.check(_later())
    pool.check(_later())
    # One that ended while nobody looked is replaced unseen.
    pool._idle[0]._child.kill()
    pool._idle[0]._child.wait()
    pool.check(_later())


def test_image_above_the_memory_limit_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(1, 16 * 2**20, 60.0)
    monkeypatch.setattr(decoder_pool, "_PROCESS_BYTES", 80 * 2**20)
    with pytest.raises(errors.ImageError):
        pool.pixel_values(costly.blank_png(7_000, 7_000, 2), LIMITS, PREPROCESSING, _later())
    pool.check(_later())
    pool.close()


def test_memory_shares_are_granted_in_order_and_returned() -> None:
    shares = Shares(10)
    order: list[str] = []

    def take(name: str, wanted: int) -> None:
        with shares.taken(wanted, _later()):
            order.append(name)

    with shares.taken(6, _later()) as held:
        assert held == 6
        large = threading.Thread(target=take, args=("large", 99))
        large.start()
        while not shares._waiting:
            time.sleep(0.01)
        small = threading.Thread(target=take, args=("small", 1))
        small.start()
        # It would fit, and would pass the large one for ever.
        with pytest.raises(errors.DeadlineError):
            shares.taken(1, _later(0.1)).__enter__()
        assert order == []
    large.join(60)
    small.join(60)
    assert order == ["large", "small"]
    assert (shares._free, list(shares._waiting)) == (10, [])


def _peaks(tmp_path: Path, files: list[bytes]) -> tuple[int, int]:
    """Peaks in MiB of a process that decodes these at once, and of its decoders together."""
    for number, data in enumerate(files):
        (tmp_path / f"{number:03}").write_bytes(data)
    code = """
import sys, time, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import psutil
from sigrl.model.config import Preprocessing
from sigrl.service.errors import ImageError
from sigrl.service.images.decoder_pool import DecoderPool
from sigrl.service.images.files import ImageLimits
pool = DecoderPool(4, 512 * 2**20, 60.0)
me, peaks, done = psutil.Process(), [0, 0], False
def watch():
    while not done:
        peaks[0] = max(peaks[0], me.memory_info().rss)
        total = 0
        for child in me.children():
            try: total += child.memory_info().rss
            except psutil.Error: pass
        peaks[1] = max(peaks[1], total)
        time.sleep(0.02)
watcher = threading.Thread(target=watch); watcher.start()
def tag(path):
    try: pool.pixel_values(path.read_bytes(), ImageLimits(), Preprocessing(), time.monotonic() + 300)
    except ImageError as error: return error
with ThreadPoolExecutor(4) as threads:
    results = list(threads.map(tag, sorted(Path(sys.argv[1]).iterdir())))
done = True; watcher.join(); pool.close()
print(peaks[0] >> 20, peaks[1] >> 20, sum(isinstance(each, ImageError) for each in results))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert ran.returncode == 0, ran.stderr
    parent, children, _ = map(int, ran.stdout.split())
    return parent, children


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
@pytest.mark.parametrize("kind", ["album", "needle", "truncated"])
def test_peak_memory_stays_within_the_budget(tmp_path: Path, kind: str) -> None:
    if kind == "album":
        # Twelve megapixels each: 200 MB while one is decoded, 2.4 GB for all of them.
        files = [samples.encode(Image.new("RGB", (4_000, 3_000), "teal"), "WEBP", method=0)] * 12
    elif kind == "needle":
        files = [costly.blank_png(1, 50_000_000), costly.blank_png(1, 100_000), costly.blank_png(100_000, 1)]
    else:
        whole = costly.blank_png(7_100, 7_000, 6)
        files = [whole[: len(whole) * 9 // 10]] * 8
    parent, children = _peaks(tmp_path, files)
    assert parent < 300
    # The budget of 512 MiB, and four processes with their modules.
    assert children < 512 + 4 * 100


@pytest.mark.skipif(sys.platform != "linux", reason="only there the memory is limited")
def test_existing_lower_rlimit_is_kept() -> None:
    code = (
        "import resource; from sigrl.service.images.decoder_process import _limit_memory\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30)); _limit_memory(8 << 30)\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA) == (4 << 30, 4 << 30))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
