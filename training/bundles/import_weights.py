"""`sigrl-train import`: turns weights that others trained into a bundle."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sigrl.model.bundle import Bundle, TaggingModel, save_bundle
from sigrl.model.config import BackboneConfig, HeadConfig, Preprocessing
from sigrl.model.manifest import Description
from sigrl.model.reference_names import ReferenceWeights, map_reference_weights
from sigrl.training.backbones.model_folder import TransformersFolder
from sigrl.training.backbones.open_clip_source import OpenClipSource, rename
from sigrl.training.backbones.published_tokenizer import add_tokenizer
from sigrl.training.backbones.weight_files import WeightsError, read_tensors
from sigrl.training.bundles.provenance import commit

Progress = Callable[[str, int, int], None]
"""Called with the next step's name, the number of steps done and the number of all steps."""

CLIP_PROMPT = "a photo of a {label}."
PUBLISHED_CLIP = "ViT-B-16/openai"
"""The CLIP that MKT and SigRL were trained from; their label embeddings are those of its original text
tower."""
PUBLISHED_NORMALISATION = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""ImageNet's statistics, as in their training."""

MATCH = 0.25
"""The cosine of photograph and text at which a label counts as present. CLIP itself only compares texts with
one another. Its matching pairs lie near this value, depending on the model, so it is a starting point and not
a calibration."""
TWO_DEVIATIONS = 0.88
"""Published form: the probability of a label two deviations above the mean of all labels of the
photograph."""

_STEPS = 3


class ZeroShotHead(StrEnum):
    """The heads that score without training."""

    clip = "clip"
    mkt = "mkt"


class PublishedKind(StrEnum):
    """The systems whose published checkpoints can be read."""

    mkt = "mkt"
    sigrl = "sigrl"


@dataclass(frozen=True)
class PublishedWeights:
    """A checkpoint of MKT or SigRL: its image tower and its head."""

    kind: PublishedKind
    file: Path
    weights: ReferenceWeights


def import_open_clip(
    source: OpenClipSource,
    file: Path,
    tokenizer_folder: Path | None,
    kind: ZeroShotHead,
    output: Path,
    progress: Progress,
) -> Bundle:
    """Writes the bundle of a CLIP, whose weights are in `file`, with a head that needs no training.
    `tokenizer_folder` is `fetch_tokenizer`'s.

    The logit is CLIP's own: its scale times the cosine, plus its bias. A CLIP without a bias gets the one
    that gives `MATCH` a probability of 0.5. The `mkt` head shares the scale between the image embedding and
    the best patches. Raises WeightsError, and BundleError as `save_bundle` does.
    """
    progress("reading the weights", 0, _STEPS)
    backbone, tokenizer = source.backbone, None
    if tokenizer_folder is not None:
        backbone, tokenizer = add_tokenizer(
            backbone, tokenizer_folder, strip_separator=source.strip_separator
        )
    tensors = rename(source, read_tensors(file))
    command = f"sigrl-train import --open-clip {source.name} --head {kind}"
    provenance = _provenance(command, source.page, {file: source.url(file)}, progress)
    description, head = _zero_shot(source.name, backbone, source.preprocessing, tensors, kind, provenance)
    return _save(output, description, source.architecture, tensors, head, tokenizer, progress)


def import_folder(folder: TransformersFolder, kind: ZeroShotHead, output: Path, progress: Progress) -> Bundle:
    """Writes the bundle of a model in the layout of transformers, as `import_open_clip` does for one of
    open_clip's. Raises WeightsError, and BundleError as `save_bundle` does."""
    progress("reading the weights", 0, _STEPS)
    backbone, tokenizer = folder.backbone, None
    if backbone.has_tokenizer_file:
        backbone, tokenizer = add_tokenizer(backbone, folder.path, lower_case=folder.lower_case)
    files = folder.weight_files
    tensors = folder.rename({name: one for file in files for name, one in read_tensors(file).items()})
    name = folder.path.resolve().name
    command = f"sigrl-train import --folder {name} --head {kind}"
    provenance = _provenance(command, None, dict.fromkeys(files), progress)
    description, head = _zero_shot(name, backbone, folder.preprocessing, tensors, kind, provenance)
    return _save(output, description, name, tensors, head, tokenizer, progress)


def _zero_shot(
    name: str,
    backbone: BackboneConfig,
    preprocessing: Preprocessing,
    tensors: dict[str, Tensor],
    kind: ZeroShotHead,
    provenance: Mapping[str, Any],
) -> tuple[Description, dict[str, Tensor]]:
    """The description of a CLIP and the tensors of its head, whose scale and bias are taken out of `tensors`.
    Raises WeightsError if there is no scale."""
    if "logit_scale" not in tensors:
        raise WeightsError(f"{name} has no `logit_scale`: it contains towers, but not a whole CLIP")
    log_scale = tensors.pop("logit_scale").float().reshape(())
    bias = tensors.pop("logit_bias", -MATCH * log_scale.exp()).float().reshape(())
    head = {"log_global_scale": log_scale, "bias": bias}
    if kind is ZeroShotHead.mkt:
        head["log_global_scale"] = head["log_local_scale"] = log_scale - math.log(2)
    description = Description(
        name=name,
        backbone=backbone.model_copy(update={"prompts": (CLIP_PROMPT,)}),
        head=HeadConfig(kind=kind.value, adds_commonness=True),
        preprocessing=preprocessing,
        default_threshold=0.5,
        provenance=dict(provenance)
        | {"calibration": f"none: a cosine of {MATCH}, or the model's own bias, gives a probability of 0.5"},
    )
    return description, head


def read_published(kind: PublishedKind, file: Path) -> PublishedWeights:
    """Reads a `.pth` of MKT or SigRL. Raises WeightsError if it is neither, or not of the given kind."""
    try:
        weights = map_reference_weights(read_tensors(file))
    except ValueError as error:
        raise WeightsError(f"{file}: {error}") from error
    if bool(weights.head) != (kind is PublishedKind.sigrl):
        other = PublishedKind.sigrl if weights.head else PublishedKind.mkt
        found = "SigRL's head" if weights.head else "no SigRL head"
        raise WeightsError(f"{file} has {found}: import it with --published {other}")
    return PublishedWeights(kind, file, weights)


def import_published(
    published: PublishedWeights, source: OpenClipSource, file: Path, output: Path, progress: Progress
) -> Bundle:
    """Writes the bundle of a published checkpoint, with its head in the published form.

    Such a checkpoint has no text tower. The text tower is taken from `source`, the CLIP that the checkpoint
    was trained from (OpenAI's with QuickGELU), whose weights are in `file`. Raises WeightsError, and
    BundleError as `save_bundle` does.
    """
    if source.backbone.has_tokenizer_file:
        raise WeightsError(
            f"{source.name} has a tokenizer of its own: MKT and SigRL were trained from {PUBLISHED_CLIP}"
        )
    progress("reading the weights", 0, _STEPS)
    clip = rename(source, read_tensors(file))
    text_tower = {name: tensor for name, tensor in clip.items() if name.startswith("text.")}
    size = _image_size(source, published.weights.tower)
    vision = source.backbone.vision | {"image_size": size}
    command = f"sigrl-train import --published {published.kind} {published.file.name}"
    files = {published.file: None, file: source.url(file)}
    description = Description(
        name=f"{published.kind} ({published.file.name})",
        backbone=source.backbone.model_copy(update={"vision": vision, "quick_gelu": True}),
        head=HeadConfig(kind=published.kind.value, form="published"),
        preprocessing=_published_preprocessing(size),
        default_threshold=TWO_DEVIATIONS,
        provenance=_provenance(f"{command} --open-clip {source.name}", source.page, files, progress)
        | {"left_out": published.weights.left_out},
    )
    towers = published.weights.tower | text_tower
    return _save(output, description, source.architecture, towers, published.weights.head, None, progress)


def _published_preprocessing(size: int) -> Preprocessing:
    """That of MKT's and SigRL's evaluation. Up to an image size of 224 it crops to the inner 7/8 of the short
    side."""
    short_side = size * 256 // 224 if size <= 224 else None
    return Preprocessing.model_validate(
        {**PUBLISHED_NORMALISATION, "image_size": size, "short_side": short_side}
    )


def _image_size(source: OpenClipSource, tower: Mapping[str, Tensor]) -> int:
    """The image size in pixels that a tower was trained at: its position table has one row per patch, plus
    one."""
    positions, patches = tower.get("visual.positional_embedding"), tower.get("visual.conv1.weight")
    if positions is None or patches is None:
        return source.preprocessing.image_size
    return math.isqrt(len(positions) - 1) * patches.shape[-1]


def _provenance(
    command: str, page: str | None, files: Mapping[Path, str | None], progress: Progress
) -> dict[str, Any]:
    progress("hashing the weights", 1, _STEPS)
    weights = []
    for file, url in files.items():
        with file.open("rb") as content:
            weights.append(
                {"file": file.name, "url": url, "sha256": hashlib.file_digest(content, "sha256").hexdigest()}
            )
    return {
        "weights": weights,
        # open_clip's tables say where weights are, but not under which licence.
        "licence": f"as their publisher says: {page or 'see where the file came from'}",
        "commands": [command],
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {package: version(package) for package in ("open_clip_torch", "torch")},
    }


def _save(
    output: Path,
    description: Description,
    architecture: str,
    towers: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    tokenizer: bytes | None,
    progress: Progress,
) -> Bundle:
    progress("writing the bundle", 2, _STEPS)
    tensors = {f"backbone.{name}": tensor for name, tensor in towers.items()}
    tensors |= {f"head.{name}": tensor for name, tensor in head.items()}
    _check(tensors, description, tokenizer, architecture)
    saved = save_bundle(output, description, tensors, tokenizer)
    progress("", _STEPS, _STEPS)
    return saved


def _check(
    tensors: Mapping[str, Tensor], description: Description, tokenizer: bytes | None, architecture: str
) -> None:
    """Raises WeightsError unless the names and shapes are those of the described model. `save_bundle` would
    refuse them too, but it cannot know that the user named another architecture."""
    with torch.device("meta"):
        expected = TaggingModel(description.backbone, description.head, tokenizer).state_dict()
    differences = {
        "missing": expected.keys() - tensors.keys(),
        "unknown": tensors.keys() - expected.keys(),
        "of another shape": {
            name for name, tensor in tensors.items() if tensor.shape != expected.get(name, tensor).shape
        },
    }
    found = [f"{len(names)} are {kind} (`{min(names)}`)" for kind, names in differences.items() if names]
    if found:
        raise WeightsError(
            f"the weights are not those of {architecture}: of their tensors, {', '.join(found)}: "
            "name the architecture that they belong to"
        )
