"""Converts between the files of a checkpoint bundle and a PyTorch model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from sigrl.model.attention_tower import check_tower, encode_seeing, encode_with_affinities
from sigrl.model.backbone import Backbone
from sigrl.model.background import Calibrator, calibrator_of
from sigrl.model.bundle_files import BundleError, BundleFiles, make_files, read_files, write_files
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import create_head
from sigrl.model.manifest import TOKENIZER, WEIGHTS, Description, Manifest
from sigrl.model.storage import pack, unpack
from sigrl.model.tagclip import TagclipHead


class TaggingModel(nn.Module):
    """Everything for which a bundle stores tensors, under the names `backbone.*` and `head.*`."""

    def __init__(self, backbone: BackboneConfig, head: HeadConfig, tokenizer: bytes | None = None) -> None:
        """Weights are freshly initialised. Raises ValueError as `Backbone` and `create_head` do, and for a
        tagclip head on a tower that has no attention for it."""
        super().__init__()
        self.backbone = Backbone(backbone, tokenizer)
        self.head = create_head(head, backbone.embed_dim)
        if isinstance(self.head, TagclipHead):
            check_tower(self.backbone.visual)
            self.head.encode_seeing = partial(encode_seeing, self.backbone.visual)

    def encode_images(self, pixel_values: Tensor) -> ImageFeatures:
        """Pixel values [B, 3, S, S] -> the ImageFeatures that the head needs; see `Backbone`."""
        if isinstance(self.head, TagclipHead):
            return encode_with_affinities(self.backbone.visual, pixel_values)
        return self.backbone.encode_images(pixel_values)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory."""

    manifest: Manifest
    """The bundle's manifest."""
    checkpoint_id: str
    """See `read_manifest`."""
    model: TaggingModel
    """In float32 on the CPU, in evaluation mode, without gradients."""
    tokenizer: bytes | None
    """Content of tokenizer.json."""
    calibrator: Calibrator | None = None
    """Calibrates the bundle's labels; None without a background set."""


def save_bundle(
    directory: Path,
    description: Description,
    state_dict: Mapping[str, Tensor],
    tokenizer: bytes | None = None,
    quantize: Callable[[str, Tensor], bool] | None = None,
) -> Bundle:
    """Writes a bundle and returns it as loaded, including the losses of storage.

    `state_dict` is a `TaggingModel`'s. Matrices are stored in float16, or in int8 with a scale per row if
    `quantize` selects them; by default, those of a sentence encoder. The directory appears complete or not at
    all, and nothing is saved that could not be loaded again.

    Raises BundleError when the parts do not fit together, or the directory already has other content.
    """
    if quantize is None:
        quantize = sentence_weights if description.backbone.sentence_encoder else _nothing
    try:
        contents = {WEIGHTS: save_tensors(pack(state_dict, quantize))}
        if tokenizer is not None:
            contents[TOKENIZER] = tokenizer
        files = make_files(description, contents)
        bundle = _assemble(files)
    except ValueError as error:
        raise BundleError(f"the bundle cannot be saved: {error}") from error
    write_files(directory, files)
    return bundle


def load_bundle(directory: Path) -> Bundle:
    """Reads and verifies a bundle.

    Raises BundleError as `read_files` does, and when the files do not fit the manifest's model.
    """
    files = read_files(directory)
    try:
        return _assemble(files)
    except ValueError as error:
        raise BundleError(f"{directory}: {error}") from error


def _nothing(_name: str, _tensor: Tensor) -> bool:
    return False


def sentence_weights(name: str, _tensor: Tensor) -> bool:
    """Whether a tensor is a weight of a sentence encoder, which a bundle stores in int8."""
    return name.startswith("backbone.text.") and name.endswith("weight")


def _assemble(files: BundleFiles) -> Bundle:
    """Builds the bundle. Raises ValueError when the manifest and the files' contents do not form a model."""
    manifest, tokenizer = files.manifest, files.contents.get(TOKENIZER)
    model = TaggingModel(manifest.backbone, manifest.head, tokenizer)
    try:
        tensors = unpack(load_tensors(files.contents[WEIGHTS]))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{WEIGHTS} is not in the safetensors format: {error}") from error
    _check_tensors(tensors, model)
    model.load_state_dict(tensors)
    model.eval().requires_grad_(False)
    return Bundle(manifest, files.checkpoint_id, model, tokenizer, calibrator_of(files))


def _check_tensors(tensors: Mapping[str, Tensor], model: TaggingModel) -> None:
    """Raises ValueError unless the tensors are exactly the model's and all values are finite."""
    expected = model.state_dict()
    if missing := expected.keys() - tensors.keys():
        raise ValueError(f"{WEIGHTS} lacks {len(missing)} tensors, the first `{min(missing)}`")
    if extra := tensors.keys() - expected.keys():
        raise ValueError(
            f"{WEIGHTS} contains {len(extra)} tensors that are not the model's, the first `{min(extra)}`"
        )
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ValueError(
                f"`{name}` is {tensor.dtype} {list(tensor.shape)}, "
                f"expected {wanted.dtype} {list(wanted.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ValueError(f"`{name}` contains values that are not finite")
    context = tensors.get("head.context_label_embeddings")
    if context is not None and (context == 0).all(dim=1).any():
        raise ValueError("context labels of the head have no embeddings: call `set_context` before saving")
