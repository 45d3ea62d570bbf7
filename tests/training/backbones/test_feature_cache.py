"""The cache of frozen modules' outputs: resumed, locked, shared by processes, and its size."""

import multiprocessing
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from tiny_run import kill
from torch import Tensor, nn

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess
from sigrl.training.backbones import feature_cache
from sigrl.training.backbones.feature_cache import image_features
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.photographs.inputs import from_int8, to_int8

PREPROCESSING = Preprocessing(image_size=16, resize="squash")


@pytest.fixture
def paths(coco_root: Path) -> list[Path]:
    return sorted((coco_root / "val2014").iterdir())


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four photographs: 24 photographs are six of them."""
    monkeypatch.setattr(feature_cache, "BATCH_SIZE", 2)
    monkeypatch.setattr(feature_cache, "BLOCK", 4)


def in_a_process(function: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    return process


class Counting:
    """The mean colour of each photograph times a module's weight, and how many were computed."""

    def __init__(self, kill_after: int = 1000) -> None:
        self.module = nn.Linear(1, 1)
        nn.init.ones_(self.module.weight)
        self.photographs = 0
        self.kill_after = kill_after

    def __call__(self, pixel_values: Tensor) -> Tensor:
        if len(pixel_values) > 1:  # not the one that tells the shape
            self.photographs += len(pixel_values)
        if self.photographs > self.kill_after:
            kill()
        return pixel_values.float().mean((2, 3)) * self.module.weight


def test_cached_features_are_not_computed_again(paths: list[Path], tmp_path: Path) -> None:
    compute = Counting()
    first = image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == len(paths)
    assert (first.shape, first.dtype) == ((24, 3), np.float16)
    again = image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == len(paths)
    np.testing.assert_array_equal(first, again)


def test_features_are_in_the_order_of_the_paths(paths: list[Path], tmp_path: Path) -> None:
    compute = Counting()
    found = image_features(paths[::-1], PREPROCESSING, compute, compute.module, tmp_path, "test")
    for row, path in zip(found, paths[::-1], strict=True):
        with Image.open(path) as image:
            mean = preprocess(image.convert("RGB"), PREPROCESSING).mean((1, 2))
        np.testing.assert_allclose(row, mean * compute.module.weight.item(), atol=0.02)


def test_cache_key_covers_images_weights_and_preprocessing(paths: list[Path], tmp_path: Path) -> None:
    compute = Counting()
    image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    image_features(paths[:8], PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 32
    larger = PREPROCESSING.model_copy(update={"image_size": 32})
    image_features(paths[:8], larger, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 40
    compute.module.weight.data += 1
    image_features(paths[:8], larger, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 48


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("photographs", [1, 4, 5, 21])
def test_killed_pass_resumes_where_it_stopped(paths: list[Path], tmp_path: Path, photographs: int) -> None:
    """Killed after so many photographs, as by a power cut: whole blocks of them count."""
    compute = Counting(kill_after=photographs)
    process = in_a_process(
        lambda: image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    )
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    (unfinished,) = tmp_path.glob("*.unfinished")
    (unfinished.with_suffix(".4242.unfinished")).write_bytes(b"of a version that could not go on")
    compute.kill_after = 1000
    resumed = image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 24 - photographs // 4 * 4
    whole = image_features(paths, PREPROCESSING, compute, compute.module, tmp_path / "whole", "test")
    np.testing.assert_array_equal(resumed, whole)
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".npy", ".lock"}


def test_concurrent_run_on_the_same_features_is_rejected(paths: list[Path], tmp_path: Path) -> None:
    compute = Counting()
    image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    (path,) = tmp_path.glob("*.npy")
    with FileLock(path.with_suffix(".lock")):
        # What is finished needs no lock.
        image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
        path.unlink()
        with pytest.raises(DataError, match="another run computes the same features"):
            image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")


@pytest.mark.usefixtures("small_blocks")
def test_processes_share_the_work_of_a_pass(paths: list[Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, counts = context.Barrier(2), context.Array("i", 2)

    def one_of_two(rank: int) -> None:
        accelerator = SimpleNamespace(
            is_main_process=rank == 0, process_index=rank, num_processes=2, wait_for_everyone=barrier.wait
        )
        compute = Counting()
        image_features(paths[:22], PREPROCESSING, compute, compute.module, tmp_path, "test", accelerator)
        counts[rank] = compute.photographs

    processes = [in_a_process(lambda rank=rank: one_of_two(rank)) for rank in (0, 1)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert list(counts) == [12, 10]
    compute = Counting()
    shared = image_features(paths[:22], PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 0
    alone = image_features(paths[:22], PREPROCESSING, compute, compute.module, tmp_path / "alone", "test")
    np.testing.assert_array_equal(shared, alone)


def test_size_is_reported_first_and_a_full_disk_is_rejected(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compute = Counting()
    free = SimpleNamespace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(DataError, match=r"make room, or choose a smaller form"):
        image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 0
    assert "test: 6 bytes for each of 24 photographs, 144 bytes to be written into" in capsys.readouterr().out
    free.free = 24 * 3 * 2
    image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")


def test_unreadable_image_is_reported_by_name(paths: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    compute = Counting()
    with pytest.raises(DataError, match=r"broken\.jpg cannot be decoded"):
        image_features([*paths, path], PREPROCESSING, compute, compute.module, tmp_path / "cache", "test")


def test_int8_halves_the_size_and_keeps_vector_directions() -> None:
    features = torch.randn(3, 2, 5, 64) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None, None]
    features[0, 0, 0] = 0
    stored = to_int8(features)
    assert stored.shape == (3, 2, 5, 66)
    found = torch.from_numpy(from_int8(stored.numpy())).float()
    largest = features.abs().amax(-1, keepdim=True)
    assert ((found - features).abs() <= largest / 127 + 1e-6).all()
    cosines = torch.cosine_similarity(found, features, dim=-1)[features.any(-1)]
    assert cosines.min() > 0.999
