"""What training reads for each photograph: the output of the student's frozen part, and the teacher's. Both
are computed once and kept on disk."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from sigrl.model.bundle import load_bundle
from sigrl.model.bundle_files import read_files
from sigrl.model.engine import Engine
from sigrl.model.torch_engine import TorchEngine
from sigrl.training.backbones.feature_cache import Compute, files_fingerprint, image_features
from sigrl.training.data.batches import Draw
from sigrl.training.tasks.distillation.student import Seen, Student
from sigrl.training.tasks.everyday.frozen_features import TOWER_BATCH, fastest

Item = tuple[Tensor, Tensor, Tensor]
"""Maps [C, h, w], pooled features [2 F], and the teacher's packed output, all float16."""


def open_teacher(path: Path) -> Engine:
    """The teacher's engine: OpenVINO if the bundle has graphs, because it is several times faster than
    PyTorch on a processor. Raises BundleError."""
    files = read_files(path)
    on_gpu = torch.cuda.is_available()
    if files.manifest.onnx_file_names <= files.contents.keys() and find_spec("openvino") and not on_gpu:
        from sigrl.model.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(files)
    return TorchEngine(load_bundle(path))


def teacher_outputs(engine: Engine, grid: tuple[int, int]) -> Compute:
    """A function from pixel values [B, 3, S, S] to the teacher's output in one row for each photograph; its
    patch tokens are averaged to the student's `grid`."""

    def compute(pixel_values: Tensor) -> Tensor:
        found = engine.encode_images(np.ascontiguousarray(pixel_values.numpy()))
        embeddings = torch.as_tensor(found.image_embeddings).float().cpu()
        tokens = torch.as_tensor(found.patch_tokens).float().cpu()
        maps = tokens.mT.reshape(len(tokens), -1, *found.grid)
        parts = [embeddings, functional.adaptive_avg_pool2d(maps, grid).flatten(2).mT.flatten(1)]
        if found.word_logits is not None:
            parts.append(torch.as_tensor(found.word_logits).float().cpu())
        return torch.cat(parts, dim=1)

    return compute


def frozen_outputs(student: Student) -> Compute:
    """A function from pixel values [B, 3, S, S] to maps and pooled features in one row for each
    photograph."""
    size = student.preprocessing.image_size
    tower = fastest(student.frozen_tower(), size)

    def compute(pixel_values: Tensor) -> Tensor:
        rows = []
        # A compiled tower has a fixed shape.
        for part in pixel_values.split(TOWER_BATCH):
            filled = np.zeros((TOWER_BATCH, 3, size, size), np.float32)
            filled[: len(part)] = part.numpy()
            maps, pooled = (torch.tensor(one[: len(part)]) for one in tower(filled))
            rows.append(torch.cat([maps.flatten(1), pooled], dim=1))
        return torch.cat(rows)

    return compute


class StudyPhotographs(Dataset[Item]):
    """N photographs as the training loop draws them."""

    def __init__(
        self, frozen: np.ndarray, pooled: int, teacher: np.ndarray, grid: tuple[int, int], embed_dim: int
    ) -> None:
        """`frozen` [N, ...] and `teacher` [N, ...] are float16 arrays, read from disk when needed; `pooled`
        is 2 F, `embed_dim` is D."""
        self._frozen, self._pooled, self._teacher = frozen, pooled, teacher
        self._embed_dim, self._positions = embed_dim, grid[0] * grid[1]
        self._shape = (-1, *grid)

    def __len__(self) -> int:
        return len(self._teacher)

    def __getitem__(self, draw: Draw) -> Item:
        row = torch.from_numpy(np.array(self._frozen[draw.photograph]))
        seen = torch.from_numpy(np.array(self._teacher[draw.photograph]))
        return row[: -self._pooled].view(self._shape), row[-self._pooled :], seen

    def unpacked(self, rows: Tensor) -> Seen:
        """The teacher's packed outputs [B, ...], in float32."""
        ends = [self._embed_dim, self._embed_dim * (1 + self._positions)]
        embeddings, tokens, words = rows.float().tensor_split(ends, dim=1)
        return Seen(embeddings, tokens.unflatten(1, (self._positions, self._embed_dim)), words)


def study(
    teacher: Path, student: Student, paths: Sequence[Path], grid: tuple[int, int], cache: Path, part: str
) -> StudyPhotographs:
    """The photographs with everything that training reads, computed or taken from `cache`; `part` is their
    name on the progress bar. Raises DataError for a photograph that cannot be read."""
    bundle, folder = load_bundle(teacher), cache / files_fingerprint(paths, part)
    seen = image_features(
        paths,
        bundle.manifest.preprocessing,
        teacher_outputs(open_teacher(teacher), grid),
        bundle.model.backbone.visual,
        folder,
        f"teacher, {part}",
    )
    frozen = image_features(
        paths,
        student.preprocessing,
        frozen_outputs(student),
        student.frozen_tower(),
        folder,
        f"student, {part}",
    )
    pooled = 2 * student.visual.trunk.conv_head.out_channels
    return StudyPhotographs(frozen, pooled, seen, grid, bundle.manifest.backbone.embed_dim)
