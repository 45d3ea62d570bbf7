"""The frozen tower's features, stored in shards, and photographs that occur twice."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from rich.filesize import decimal

from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday import frozen_features
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.duplicates import HASH_BYTES, difference_hash, may_be_trained_on
from sigrl.training.tasks.everyday.frozen_features import FrozenTower, torch_tower
from sigrl.training.tasks.everyday.network import LastBlocks, pooled
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.sources import read_sources
from sigrl.training.tasks.everyday.start import Start

Config = Callable[..., EverydayConfig]
FASTEST = frozen_features.fastest


def compute(
    config: EverydayConfig, start: Start, photographs: list[Photograph]
) -> tuple[frozen_features.FrozenFeatures, list[str]]:
    features, problems = frozen_features.frozen_features(photographs, config, start.trunk)
    return features, [problem.subject for problem in problems]


def test_last_blocks_start_with_the_trunk_weights(start: Start) -> None:
    trunk = copy.deepcopy(start.trunk).eval()
    pixel_values = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, small = FrozenTower(trunk, 2)(pixel_values)
        expected = trunk.forward_features(pixel_values)
        torch.testing.assert_close(LastBlocks(trunk, 2)(before), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(small, pooled(expected))


def test_stored_features_match_the_tower(everyday: Config, start: Start) -> None:
    config = everyday()
    photographs = read_sources(config)
    features, problems = compute(config, start, photographs)
    assert problems == []
    assert features.pooled.shape == (len(photographs), 2 * start.trunk.num_features)
    rows = np.array([len(photographs) - 1, 0])
    pixel_values = np.stack([read_photograph(photographs[row].path, config.preprocessing) for row in rows])
    with torch.inference_mode():
        maps, small = FrozenTower(start.trunk, config.training.tuned_blocks)(torch.from_numpy(pixel_values))
    assert torch.cosine_similarity(features.maps(rows).flatten(1), maps.flatten(1)).min() > 0.995
    assert torch.cosine_similarity(torch.from_numpy(features.pooled[rows]).float(), small).min() > 0.995


def test_interrupted_pass_resumes_where_it_stopped(
    everyday: Config, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = everyday()
    photographs = read_sources(config)
    monkeypatch.setattr(frozen_features, "_SHARD", 4)
    calls = 0

    def counting(tower: FrozenTower, _: int, stop_at: int) -> frozen_features.Tower:
        forward = torch_tower(tower)

        def compute(pixel_values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            return forward(pixel_values)

        return compute

    monkeypatch.setattr(frozen_features, "fastest", lambda tower, size: counting(tower, size, 4))
    with pytest.raises(KeyboardInterrupt):
        compute(config, start, photographs)
    kept = {path: path.stat().st_mtime_ns for path in config.cache.glob("*.npy")}
    assert len(kept) == 2 * 3
    calls = 0
    monkeypatch.setattr(frozen_features, "fastest", lambda tower, size: counting(tower, size, 99))
    features, _ = compute(config, start, photographs)
    assert (
        calls == 3 + 3 + 3 + 2 - 3
    )  # 12, 12, 11 and 6 photographs in shards of 4; three shards exist already
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in config.cache.glob("*.npy")}.items()

    whole, _ = compute(everyday(cache=config.cache / "other"), start, photographs)
    np.testing.assert_array_equal(features.pooled, whole.pooled)
    every = np.arange(len(photographs))
    torch.testing.assert_close(features.maps(every), whole.maps(every), rtol=0, atol=0)


def test_concurrent_run_on_the_same_tower_is_rejected(everyday: Config, start: Start) -> None:
    config = everyday()
    photographs = read_sources(config)
    compute(config, start, photographs[:3])
    (lock,) = config.cache.glob("*.lock")
    with FileLock(lock):
        # What is finished needs no lock.
        compute(config, start, photographs[:3])
        with pytest.raises(DataError, match="another run computes the same features"):
            compute(config, start, photographs[:5])
    assert not list(config.cache.glob("*.unfinished"))
    compute(config, start, photographs[:5])


def test_features_that_another_run_finished_are_not_computed_again(
    everyday: Config,
    start: Start,
    another_run_finishes: Callable[[str, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = everyday()
    photographs = read_sources(config)[:3]
    expected, _ = compute(config, start, photographs)
    another_run_finishes("frozen_features", config.cache)
    # Nothing may compile the tower, which takes seconds.
    monkeypatch.setattr(frozen_features, "fastest", None)
    features, _ = compute(config, start, photographs)
    np.testing.assert_array_equal(features.pooled, expected.pooled)


def test_size_is_reported_first_and_a_full_disk_is_rejected(
    everyday: Config, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = everyday()
    photographs = read_sources(config)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(DataError, match="make room, or set `cache` to another disk"):
        compute(config, start, photographs)
    assert not list(config.cache.glob("*.npy"))
    assert f"for each of {len(photographs)} photographs" in capsys.readouterr().out
    with monkeypatch.context() as large:
        large.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
        features, _ = compute(config, start, photographs)
    one = features.maps(np.array([0])).half().nbytes + features.pooled[0].nbytes + HASH_BYTES + 1
    assert f"frozen image tower: {decimal(one)} for each of" in capsys.readouterr().out


def test_unreadable_images_are_reported_and_left_out(everyday: Config, start: Start, folders: Path) -> None:
    damaged = folders / "scenes" / "data" / "train" / "kitchen" / "0.jpg"
    damaged.write_bytes(b"no photograph")
    config = everyday()
    photographs = read_sources(config)
    features, problems = compute(config, start, photographs)
    assert problems == [str(damaged)]
    row = [one.path for one in photographs].index(damaged)
    assert np.flatnonzero(~features.readable).tolist() == [row]
    with pytest.raises(DataError, match="none of 1 photographs"):
        compute(config, start, [photographs[row]])


def test_openvino_features_match_pytorch(
    everyday: Config, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    config = everyday()
    photographs = read_sources(config)[:5]
    expected, _ = compute(config, start, photographs)
    monkeypatch.setattr(frozen_features, "fastest", FASTEST)
    features, _ = compute(everyday(cache=config.cache / "openvino"), start, photographs)
    similarity = torch.cosine_similarity(
        torch.from_numpy(features.pooled).float(), torch.from_numpy(expected.pooled).float()
    )
    assert similarity.min() > 0.995


def test_resized_copy_has_a_similar_hash(folders: Path, tmp_path: Path) -> None:
    one, other = (folders / "everyday" / "photographs" / f"{name}.jpg" for name in ("D0", "D1"))
    with Image.open(one) as image:
        image.resize((90, 70), Image.Resampling.BICUBIC).save(tmp_path / "copy.jpg", quality=60)
    hashes = [
        np.unpackbits(difference_hash(Image.open(path))) for path in (one, tmp_path / "copy.jpg", other)
    ]
    assert (hashes[0] != hashes[1]).sum() < 25
    assert (hashes[0] != hashes[2]).sum() > 80


def test_copies_of_held_out_images_are_excluded_from_training(
    everyday: Config, start: Start, folders: Path
) -> None:
    scenes = folders / "scenes" / "data" / "train" / "forest"
    for name, source in (("test", "T0"), ("dense", "D1"), ("val", "D4")):
        with Image.open(folders / "everyday" / "photographs" / f"{source}.jpg") as image:
            image.resize((48, 48)).save(scenes / f"{name}.jpg", quality=80)
    config = everyday()
    photographs = read_sources(config)
    features, _ = compute(config, start, photographs)
    allowed = may_be_trained_on(photographs, features.hashes)
    refused = {one.path.name for one, is_allowed in zip(photographs, allowed, strict=True) if not is_allowed}
    held_out = {one.path.name for one in photographs if one.role != "train"}
    assert refused == held_out | {"test.jpg", "dense.jpg", "val.jpg"}
