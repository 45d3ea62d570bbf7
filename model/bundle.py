"""The checkpoint bundle: a directory with manifest.json, model.safetensors and, for sentence encoders,
tokenizer.json. Every hash is verified before a file is used, and nothing pickled is ever opened."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from model.backbone import Backbone
from model.config import BackboneConfig, HeadConfig
from model.heads import create_head
from model.manifest import TOKENIZER, WEIGHTS, Description, Manifest, read_manifest, sha256, write_manifest
from model.storage import pack, unpack

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 2**20
PICKLED = {".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle"}


class BundleError(Exception):
    """A bundle that cannot be used; the message says what is wrong and what to do."""


class TaggingModel(nn.Module):
    """All that a bundle holds tensors for, under the names `backbone.*` and `head.*`."""

    def __init__(self, backbone: BackboneConfig, head: HeadConfig, tokenizer: bytes | None = None) -> None:
        """Freshly initialised. Raises ValueError as `Backbone` and `create_head` do."""
        super().__init__()
        self.backbone = Backbone(backbone, tokenizer)
        self.head = create_head(head, backbone.embed_dim)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory."""

    manifest: Manifest
    """What it says of itself."""
    checkpoint_id: str
    """See `read_manifest`."""
    model: TaggingModel
    """In float32 on the CPU, in evaluation mode, without gradients."""
    tokenizer: bytes | None
    """Content of tokenizer.json."""


def save_bundle(
    directory: Path,
    description: Description,
    state_dict: Mapping[str, Tensor],
    tokenizer: bytes | None = None,
    quantize: Callable[[str, Tensor], bool] | None = None,
) -> Bundle:
    """Writes a bundle and gives back what loading it gives, losses of storage included.

    `state_dict` is a `TaggingModel`'s. Matrices are stored in float16, those that `quantize` names in int8
    with a scale per row; by default the weights of a sentence encoder. The directory appears whole or not at
    all: what could not be loaded again is not saved.

    Raises BundleError when the parts do not fit one another, or the directory holds anything else already.
    """
    if quantize is None:
        quantize = _sentence_weights if description.backbone.sentence_encoder else _nothing
    try:
        contents = {WEIGHTS: save_tensors(pack(state_dict, quantize))}
        if tokenizer is not None:
            contents[TOKENIZER] = tokenizer
        text = write_manifest(description, {name: sha256(content) for name, content in contents.items()})
        bundle = _assemble(*read_manifest(text), contents)
    except ValueError as error:
        raise BundleError(f"the bundle cannot be saved: {error}") from error
    try:
        if (directory / MANIFEST).is_file() and (directory / MANIFEST).read_bytes() == text:
            return load_bundle(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=directory.parent) as parent:
            unfinished = Path(parent, directory.name)
            unfinished.mkdir()
            for name, content in (contents | {MANIFEST: text}).items():
                (unfinished / name).write_bytes(content)
            unfinished.rename(directory)
    except OSError as error:
        raise BundleError(
            f"cannot write the bundle {directory} ({error.strerror or error}): a bundle is final; "
            "name a new directory"
        ) from error
    return bundle


def load_bundle(directory: Path) -> Bundle:
    """Reads and verifies a bundle.

    Raises BundleError when it is absent, damaged, of another format, holds anything that is not listed, or
    does not fit the model that its manifest describes.
    """
    try:
        with (directory / MANIFEST).open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES)
        present = {entry.name for entry in directory.iterdir()}
    except OSError as error:
        raise BundleError(
            f"{directory} holds no readable {MANIFEST} ({error.strerror or error}): name the directory of a "
            "checkpoint bundle; other weights are brought in by `sigrl-train import`"
        ) from error
    try:
        manifest, checkpoint_id = read_manifest(text)
        _refuse_unlisted(present - manifest.file_names - {MANIFEST})
        contents = {name: _read_verified(directory / name, sha) for name, sha in manifest.files.items()}
        return _assemble(manifest, checkpoint_id, contents)
    except ValueError as error:
        raise BundleError(f"{directory}: {error}") from error


def bundled_path() -> Path:
    """The directory of the checkpoint that ships with the package. Raises BundleError when there is none."""
    path = Path(str(resources.files("model").joinpath("bundled")))
    if not (path / MANIFEST).is_file():
        raise BundleError(
            "the package was installed without a checkpoint: install the wheel of a release, or name the "
            "directory of a bundle"
        )
    return path


def _nothing(_name: str, _tensor: Tensor) -> bool:
    return False


def _sentence_weights(name: str, _tensor: Tensor) -> bool:
    return name.startswith("backbone.text.") and name.endswith("weight")


def _refuse_unlisted(unlisted: set[str]) -> None:
    for name in sorted(unlisted):
        if Path(name).suffix.lower() in PICKLED:
            raise ValueError(
                f"it holds {name!a}: pickled weights can run code and are never opened; bring them in by "
                "`sigrl-train import`, which writes a bundle"
            )
        raise ValueError(f"it holds {name!a}, which is no part of a bundle: remove it")


def _read_verified(path: Path, expected: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"cannot read {path.name} ({error.strerror or error}): copy the bundle again"
        ) from error
    if sha256(content) != expected:
        raise ValueError(f"{path.name} is damaged, its SHA-256 is not the manifest's: copy the bundle again")
    return content


def _assemble(manifest: Manifest, checkpoint_id: str, contents: Mapping[str, bytes]) -> Bundle:
    """Raises ValueError when the manifest and the files' contents do not make a model."""
    tokenizer = contents.get(TOKENIZER)
    model = TaggingModel(manifest.backbone, manifest.head, tokenizer)
    try:
        tensors = unpack(load_tensors(contents[WEIGHTS]))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{WEIGHTS} is not in the safetensors format: {error}") from error
    _check_tensors(tensors, model)
    model.load_state_dict(tensors)
    return Bundle(manifest, checkpoint_id, model.eval().requires_grad_(False), tokenizer)


def _check_tensors(tensors: Mapping[str, Tensor], model: TaggingModel) -> None:
    """Raises ValueError unless the tensors are exactly the model's, and all numbers finite."""
    expected = model.state_dict()
    if missing := expected.keys() - tensors.keys():
        raise ValueError(f"{WEIGHTS} lacks {len(missing)} tensors, the first `{min(missing)}`")
    if extra := tensors.keys() - expected.keys():
        raise ValueError(
            f"{WEIGHTS} holds {len(extra)} tensors that are not the model's, the first `{min(extra)}`"
        )
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ValueError(
                f"`{name}` is {tensor.dtype} {list(tensor.shape)}, "
                f"expected {wanted.dtype} {list(wanted.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ValueError(f"`{name}` holds values that are not finite")
    context = tensors.get("head.context_label_embeddings")
    if context is not None and (context == 0).all(dim=1).any():
        raise ValueError("context labels of the head have no embeddings: call `set_context` before saving")
