"""Runs the frozen image tower once over all photographs and stores its features on disk in shards."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess
from sigrl.model.word_tower import trunk_blocks
from sigrl.training.backbones.cache_files import announce_size, locked
from sigrl.training.data.dataset import DataError, Problem
from sigrl.training.data.opening import open_photograph
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.duplicates import HASH_BYTES, difference_hash
from sigrl.training.tasks.everyday.network import pooled
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.start import fingerprint, write_array
from sigrl.training.tasks.everyday.views import seen_by
from sigrl.training.terminal import progress_bar

_SHARD = 1024
"""Photographs per shard; at most one shard is computed again after an interruption."""
TOWER_BATCH = 8
"""Photographs in one call of a `Tower`."""
_ROWS = 4000
_READERS = 2
Tower = Callable[[npt.NDArray[np.float32]], tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]]
"""Pixel values [8, 3, S, S] -> inputs of the tuned blocks [8, C, h, w], pooled features [8, 2 F]."""
Shard = tuple[Path, list[Photograph]]
"""The file of a shard's small columns, and its photographs."""


class FrozenTower(nn.Module):
    """Pixel values -> the inputs of the tuned blocks, and the mean and maximum of the frozen tower's
    features."""

    def __init__(self, trunk: Any, tuned_blocks: int) -> None:
        """`trunk` is timm's EfficientNet; a copy of its last `tuned_blocks` blocks is tuned elsewhere."""
        super().__init__()
        blocks = trunk_blocks(trunk)
        self.stem = nn.Sequential(trunk.conv_stem, trunk.bn1, *blocks[:-tuned_blocks])
        self.last = nn.Sequential(*blocks[-tuned_blocks:], trunk.conv_head, trunk.bn2)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel values [B, 3, S, S] -> maps [B, C, h, w] and pooled features [B, 2 F]."""
        before = self.stem(pixel_values)
        return before, pooled(self.last(before))


class FrozenFeatures:
    """The frozen tower's features of N photographs."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """`shards` are the files of `frozen_features`, in the photographs' order."""
        maps = [np.load(shard.with_suffix(".maps.npy"), mmap_mode="r") for shard in shards]
        small = [np.load(shard) for shard in shards]
        self._maps = maps
        self._first = np.cumsum([0, *map(len, maps)])
        self.pooled: npt.NDArray[np.float16] = np.concatenate([one["pooled"] for one in small])
        """[N, 2 F]: mean over the last map, and maximum over means of 2 x 2 cells."""
        self.hashes: npt.NDArray[np.uint8] = np.concatenate([one["hash"] for one in small])
        """[N, 32]."""
        self.readable: npt.NDArray[np.bool_] = np.concatenate([one["readable"] for one in small])
        """[N]: False for unreadable photographs, whose features are zeros."""

    def maps(self, rows: npt.NDArray[np.integer]) -> Tensor:
        """The inputs of the tuned blocks [n, C, h, w] float32 for some photographs."""
        shard = np.searchsorted(self._first, rows, side="right") - 1
        parts = [self._maps[s][row - self._first[s]] for s, row in zip(shard, rows, strict=True)]
        return torch.from_numpy(np.stack(parts).astype(np.float32))


def frozen_features(
    photographs: Sequence[Photograph], config: EverydayConfig, trunk: nn.Module
) -> tuple[FrozenFeatures, list[Problem]]:
    """Features of all photographs, taken from `config.cache` where they exist, and the photographs that could
    not be read.

    OpenVINO computes them if it is installed, three times as fast as PyTorch, both in bfloat16 where the
    processor supports it; their last bits differ. The size is printed before anything is computed.

    Raises DataError when no photograph can be read, when the disk is too small, and if another run computes
    features of the same tower at this moment.
    """
    tower = FrozenTower(trunk, config.training.tuned_blocks).eval()
    weights = fingerprint(tower, config.preprocessing.model_dump(mode="json"))
    shards: list[Shard] = []
    for source, members in _shards(photographs):
        names = [(one.repository, one.place, *([one.view] if one.view else [])) for one in members]
        shards.append((config.cache / f"{source}-{fingerprint(weights, names)}.npy", members))
    if not all(path.is_file() for path, _ in shards):
        config.cache.mkdir(parents=True, exist_ok=True)
        # One lock for all shards: a second run that shares only some of them would fail in its midst.
        with locked(config.cache / f"{weights}.npy"):
            _compute_missing(shards, config.preprocessing, tower, config.cache)
    features = FrozenFeatures([path for path, _ in shards])
    problems = [
        Problem("unreadable file", str(one.path), f"{one.path} cannot be read: it is left out")
        for one, readable in zip(photographs, features.readable, strict=True)
        if not readable
    ]
    if len(problems) == len(photographs):
        raise DataError(
            f"none of {len(photographs)} photographs can be read, for instance {photographs[0].path}: check "
            "the folders of the sources"
        )
    return features, problems


def statistics(
    pooled: npt.NDArray[np.float16], rows: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and deviation [2 F] of pooled features of `rows`; the deviation has a minimum, so that nearly
    constant features are not blown up."""
    of_rows = pooled[rows].astype(np.float32)
    return of_rows.mean(axis=0), 1.5 * of_rows.std(axis=0) + np.float32(0.05)


def standardised(pooled: npt.NDArray[np.float16], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float16]:
    """Pooled features [N, 2 F], standardised by the `statistics` of some rows."""
    mean, deviation = statistics(pooled, rows)
    parts = np.split(pooled, range(_ROWS, len(pooled), _ROWS))
    return np.concatenate([((part - mean) / deviation).astype(np.float16) for part in parts])


def _shards(photographs: Sequence[Photograph]) -> Iterator[tuple[str, list[Photograph]]]:
    """Shards by source, so that an added source leaves the shards of the others unchanged."""
    for source, group in groupby(photographs, lambda one: one.source):
        members = list(group)
        for first in range(0, len(members), _SHARD):
            yield source, members[first : first + _SHARD]


def _compute_missing(
    shards: Sequence[Shard], preprocessing: Preprocessing, tower: FrozenTower, cache: Path
) -> None:
    missing = [(path, members) for path, members in shards if not path.is_file()]
    # Another run may have computed them between the first look and the lock.
    if not missing:
        return
    count, left = (sum(len(members) for _, members in some) for some in (shards, missing))
    description, size = "frozen image tower", preprocessing.image_size
    each = _bytes_of_one(tower, size)
    announce_size(description, each, count, each * left, cache, "make room, or set `cache` to another disk")
    compute = fastest(tower, size)
    with progress_bar() as progress, ThreadPoolExecutor(_READERS) as readers:
        bar = progress.add_task(description, total=count, completed=count - left, note="")
        for path, members in missing:
            batches = _prepared(members, preprocessing, readers)
            _compute_shard(path, batches, size, compute, partial(progress.advance, bar))


@torch.inference_mode()
def _bytes_of_one(tower: FrozenTower, size: int) -> int:
    """The size on disk of a photograph's features, hash and mark of being readable."""
    return sum(one.half().nbytes for one in tower(torch.zeros(1, 3, size, size))) + HASH_BYTES + 1


Prepared = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]] | None


def _prepared(
    members: Sequence[Photograph], preprocessing: Preprocessing, readers: ThreadPoolExecutor
) -> Iterator[list[Prepared]]:
    """Batches of pixel values and hashes; None for unreadable photographs. Two batches are read ahead."""

    def read(photograph: Photograph) -> Prepared:
        try:
            image = open_photograph(photograph.path)
        except DataError:
            return None
        return preprocess(seen_by(image, photograph), preprocessing), difference_hash(image)

    ahead: deque[list[Future[Prepared]]] = deque()
    for first in range(0, len(members), TOWER_BATCH):
        ahead.append([readers.submit(read, one) for one in members[first : first + TOWER_BATCH]])
        if len(ahead) > 2:
            yield [future.result() for future in ahead.popleft()]
    for batch in ahead:
        yield [future.result() for future in batch]


def _compute_shard(
    path: Path, batches: Iterator[list[Prepared]], size: int, compute: Tower, done: Callable[[int], None]
) -> None:
    maps, features, hashes, readable = [], [], [], []
    for batch in batches:
        before, small = compute(_stacked(batch, size))
        is_readable = np.array([one is not None for one in batch])
        maps.append(_only(before, is_readable))
        features.append(_only(small, is_readable))
        hashes += [np.zeros(HASH_BYTES, np.uint8) if one is None else one[1] for one in batch]
        readable.append(is_readable)
        done(len(batch))
    # The large file comes first, because a shard is complete when its small file exists.
    write_array(path.with_suffix(".maps.npy"), np.concatenate(maps))
    columns = np.concatenate(features), np.stack(hashes), np.concatenate(readable)
    kinds = [("pooled", np.float16, columns[0].shape[1:]), ("hash", np.uint8, HASH_BYTES), ("readable", bool)]
    table = np.empty(len(columns[0]), dtype=kinds)
    table["pooled"], table["hash"], table["readable"] = columns
    write_array(path, table)


def _stacked(batch: Sequence[Prepared], size: int) -> npt.NDArray[np.float32]:
    """[8, 3, S, S], zeros where there is no photograph, because a compiled tower has a fixed shape."""
    stacked = np.zeros((TOWER_BATCH, 3, size, size), np.float32)
    for number, one in enumerate(batch):
        if one is not None:
            stacked[number] = one[0]
    return stacked


def _only(values: npt.NDArray[np.floating], readable: npt.NDArray[np.bool_]) -> npt.NDArray[np.float16]:
    kept = values[: len(readable)].astype(np.float16)
    kept[~readable] = 0
    return kept


def fastest(tower: FrozenTower, size: int) -> Tower:
    """The tower in OpenVINO, or in PyTorch if that is not installed."""
    try:
        import openvino

        from sigrl.model.openvino_graphs import CORE
    except ModuleNotFoundError:
        return torch_tower(tower)
    shape = (TOWER_BATCH, 3, size, size)
    model = openvino.convert_model(tower, example_input=torch.zeros(shape), input=list(shape))
    compiled = CORE.compile_model(
        model,
        "CPU",
        {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": torch.get_num_threads()},
    )

    def compute(pixel_values: npt.NDArray[np.float32]) -> tuple[np.ndarray, np.ndarray]:
        outputs = compiled(pixel_values)
        return outputs[0], outputs[1]

    return compute


def torch_tower(tower: FrozenTower) -> Tower:
    """The tower in PyTorch."""
    tower = tower.to(memory_format=torch.channels_last)

    def compute(pixel_values: npt.NDArray[np.float32]) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            before, small = tower(
                torch.from_numpy(pixel_values).contiguous(memory_format=torch.channels_last)
            )
        return before.float().numpy(), small.float().numpy()

    return compute
