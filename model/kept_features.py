"""Compact features of photographs, about a tenth of an engine's, which suffice to score any label later. No
photograph can be reconstructed from them. Imports without torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

Array = npt.NDArray[np.float32]

_BATCH = 32
_INT8_RANGE = 127
_WORDS = "word_logits"


@dataclass(frozen=True, eq=False)
class KeptFeatures:
    """N photographs in the joint space of D dimensions, as encoded by one checkpoint."""

    image_embeddings: npt.NDArray[np.float16]
    """[N, D]."""
    patch_tokens: npt.NDArray[np.int8]
    """[N, P, D], after reconstruction if that needs no labels. For a head that matches no patches, P is 1."""
    scales: npt.NDArray[np.float16]
    """[N, P]: a token is its row of `patch_tokens` times this."""
    word_logits: npt.NDArray[np.float16] | None = None
    """[N, W]: a word tower's logits of its known words and classes; None for every other tower."""

    def __len__(self) -> int:
        return len(self.image_embeddings)

    def take(self, rows: slice | npt.NDArray[np.integer]) -> "KeptFeatures":
        """The features of some photographs."""
        words = None if self.word_logits is None else self.word_logits[rows]
        return KeptFeatures(self.image_embeddings[rows], self.patch_tokens[rows], self.scales[rows], words)

    def logits(self, score: Callable[[Array, Array, Array | None], Array]) -> Array:
        """Logits [N, C] of all photographs, at least one, computed in batches. `score` takes image embeddings
        [B, D], patch tokens [B, P, D] and word logits [B, W] or None, and returns logits [B, C]."""
        return np.concatenate([score(*self.restored(rows)) for rows in self._batches()])

    def restored(self, rows: slice) -> tuple[Array, Array, Array | None]:
        """The features of some photographs in float32, as `logits` passes them on."""
        tokens = self.patch_tokens[rows].astype(np.float32) * self.scales[rows, :, None].astype(np.float32)
        words = None if self.word_logits is None else self.word_logits[rows].astype(np.float32)
        return self.image_embeddings[rows].astype(np.float32), tokens, words

    def _batches(self) -> Iterator[slice]:
        return (slice(start, start + _BATCH) for start in range(0, len(self), _BATCH))

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """The tensors by their names in files."""
        tensors: dict[str, npt.NDArray[np.generic]] = {
            "image_embeddings": self.image_embeddings,
            "patch_tokens": self.patch_tokens,
            "patch_tokens.scale": self.scales,
        }
        return tensors if self.word_logits is None else tensors | {_WORDS: self.word_logits}

    def to_bytes(self) -> bytes:
        """The content in the safetensors format."""
        return save(self.tensors())

    @classmethod
    def from_bytes(cls, content: bytes) -> "KeptFeatures":
        """Reads the result of `to_bytes`. Raises ValueError for anything else."""
        tensors = read_tensors(content)
        embeddings = tensors.get("image_embeddings")
        photographs, embed_dim = (0, 0) if embeddings is None or embeddings.ndim != 2 else embeddings.shape
        return cls.checked(tensors, photographs, embed_dim)

    @classmethod
    def checked(
        cls, tensors: dict[str, npt.NDArray[np.generic]], photographs: int, embed_dim: int
    ) -> "KeptFeatures":
        """Builds the features from `tensors`, by name. Raises ValueError unless they match the numbers of
        photographs and dimensions and are finite."""
        tokens = tensors.get("patch_tokens")
        patches = tokens.shape[1] if tokens is not None and tokens.ndim == 3 else 0
        expected = {
            "image_embeddings": ((photographs, embed_dim), np.float16),
            "patch_tokens": ((photographs, patches, embed_dim), np.int8),
            "patch_tokens.scale": ((photographs, patches), np.float16),
        }
        if _WORDS in tensors:
            expected[_WORDS] = ((photographs, tensors[_WORDS].shape[-1]), np.float16)
        if tensors.keys() != expected.keys():
            raise ValueError(f"it contains {sorted(tensors)}, expected {sorted(expected)}")
        for name, (shape, kind) in expected.items():
            check_tensor(name, tensors[name], shape, kind)
        return cls(*(tensors[name] for name in expected))  # type: ignore[arg-type]


def keep(image_embeddings: Array, patch_tokens: Array, word_logits: Array | None = None) -> KeptFeatures:
    """Compacts float32 features [N, D], [N, P, D] and [N, W]; the tokens become int8."""
    scales = np.abs(patch_tokens).max(axis=2) / _INT8_RANGE
    halves = np.maximum(scales, np.finfo(np.float16).tiny).astype(np.float16)
    rounded = np.round(patch_tokens / halves.astype(np.float32)[:, :, None])
    tokens = np.clip(rounded, -_INT8_RANGE, _INT8_RANGE).astype(np.int8)
    words = None if word_logits is None else word_logits.astype(np.float16)
    return KeptFeatures(image_embeddings.astype(np.float16), tokens, halves, words)


def join(parts: Sequence[KeptFeatures]) -> KeptFeatures:
    """All photographs of at least one part, in order; all parts are from one checkpoint."""
    return KeptFeatures(
        np.concatenate([part.image_embeddings for part in parts]),
        np.concatenate([part.patch_tokens for part in parts]),
        np.concatenate([part.scales for part in parts]),
        None if parts[0].word_logits is None else np.concatenate([part.word_logits for part in parts]),
    )


def read_tensors(content: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """The tensors in a file's content. Raises ValueError when it is not in the safetensors format."""
    try:
        return load(content)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"it is not in the safetensors format ({error})") from error


def check_tensor(name: str, tensor: npt.NDArray[np.generic], shape: tuple[int, ...], kind: type) -> None:
    """Raises ValueError unless the tensor has this shape and dtype, and all its values are finite."""
    if tensor.shape != shape or tensor.dtype != kind:
        raise ValueError(
            f"`{name}` is {tensor.dtype} {list(tensor.shape)}, expected {np.dtype(kind)} {list(shape)}"
        )
    if not np.isfinite(tensor).all():
        raise ValueError(f"`{name}` contains values that are not finite")
