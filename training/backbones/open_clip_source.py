"""open_clip's CLIP models: found by name, described as our configuration, downloaded by open_clip's own
code."""

import sigrl.model.torchvision_cure  # noqa: F401 (before open_clip, which imports torchvision)

# isort: split
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from open_clip import get_model_config, list_models
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.pretrained import (
    download_pretrained,
    get_pretrained_cfg,
    is_pretrained_cfg,
    list_pretrained_tags_by_model,
)
from pydantic import ValidationError
from torch import Tensor

from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig, Preprocessing
from sigrl.training.backbones.weight_files import WeightsError

_RESIZES = {"shortest": "crop", "squash": "squash"}


@dataclass(frozen=True)
class OpenClipSource:
    """One of open_clip's models and the location of its weights."""

    architecture: str
    """open_clip's name of the architecture, such as ViT-B-16."""
    tag: str | None
    """open_clip's name of the weights, such as openai; None for a file whose name is not a tag."""
    file: Path | None
    """The weight file, if it need not be downloaded."""
    pretrained: Mapping[str, Any]
    """open_clip's entry for the tag: `hf_hub`, `url`, `quick_gelu` and preprocessing."""
    backbone: BackboneConfig
    preprocessing: Preprocessing

    @property
    def name(self) -> str:
        """The name that the user wrote, without the folders of a file."""
        return f"{self.architecture}/{self.tag if self.file is None else self.file.name}"

    @property
    def page(self) -> str | None:
        """The page on which the publisher describes the weights."""
        hub = self.pretrained.get("hf_hub")
        return f"https://huggingface.co/{os.path.dirname(hub)}" if hub else self.pretrained.get("url")

    def url(self, fetched: Path) -> str | None:
        """The URL of a downloaded file; None for a local file."""
        if self.file is not None:
            return None
        return f"{self.page}/resolve/main/{fetched.name}" if self.pretrained.get("hf_hub") else self.page


def find_source(text: str) -> OpenClipSource:
    """The model called "ARCHITECTURE/TAG", or "ARCHITECTURE/FILE" for local weights. Nothing is downloaded.

    Activation and preprocessing are those of the tag. A file named after a tag (openai.safetensors) is read
    as that tag; any other file is read as the architecture specifies, with CLIP's preprocessing.

    Raises WeightsError if open_clip has no such model, or if a bundle cannot represent it.
    """
    architecture, _, weights = text.partition("/")
    if architecture not in list_models():
        close = get_close_matches(architecture, list_models(), n=3)
        raise WeightsError(
            f"open_clip has no architecture {architecture!r}: write ARCHITECTURE/TAG, for instance "
            f"{' or '.join(f'{name}/TAG' for name in close) or 'ViT-B-16/openai'}"
        )
    file = None if is_pretrained_cfg(architecture, weights) else Path(weights)
    if file is not None and not (weights and file.is_file()):
        tags = ", ".join(list_pretrained_tags_by_model(architecture)) or "none"
        raise WeightsError(
            f"{weights!r} is neither a file nor weights of {architecture} that open_clip knows ({tags}): "
            "write ARCHITECTURE/TAG or ARCHITECTURE/FILE"
        )
    tag = weights if file is None else file.stem
    pretrained = get_pretrained_cfg(architecture, tag)
    backbone, preprocessing = _describe(architecture, pretrained)
    return OpenClipSource(
        architecture, tag if pretrained else None, file, pretrained, backbone, preprocessing
    )


def fetch(source: OpenClipSource) -> Path:
    """The file with the weights. Downloads it, with a progress bar, unless it is local or already in the
    cache.

    Raises WeightsError, which says what to do without a network.
    """
    if source.file is not None:
        return source.file
    try:
        return Path(download_pretrained(dict(source.pretrained)))
    except (
        Exception
    ) as error:  # the hub, urllib and open_clip itself raise different errors with no narrower base
        text = str(error)
        reason = (text.partition("Last error: ")[2] or text).strip().partition("\n")[0].rstrip(".")
        file = os.path.basename(source.pretrained.get("hf_hub") or source.pretrained["url"])
        what = file or "open_clip_model.safetensors (or open_clip_pytorch_model.bin)"
        named = f"{source.tag}{Path(file).suffix or '.safetensors'}"
        raise WeightsError(
            f"the weights of {source.name} cannot be fetched ({reason}): download {what} from {source.page} "
            f"elsewhere, name the file {named}{'' if file else ' (or .bin)'} after the tag, and import it "
            f"with --open-clip {source.architecture}/PATH/{named}"
        ) from error


def rename(source: OpenClipSource, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a CLIP's tensors to the names of `Backbone`, from open_clip's older names and from Apple's. A
    tensor of neither tower keeps its name. Raises WeightsError for Apple's tensors of another
    architecture."""
    with torch.device("meta"):
        backbone = Backbone(source.backbone)
    try:
        converted = convert_state_dict(backbone, dict(tensors))
    except (AttributeError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"the weights are Apple's and do not fit {source.architecture}: name the architecture that they "
            "belong to, for instance MobileCLIP-S1"
        ) from error
    return dict(convert_to_custom_text_state_dict(converted))


def _describe(architecture: str, pretrained: Mapping[str, Any]) -> tuple[BackboneConfig, Preprocessing]:
    """The towers' configuration, with our default prompts, and the preprocessing. Raises WeightsError."""
    config = get_model_config(architecture)
    vision = {name: value for name, value in config["vision_cfg"].items() if name != "timm_model_pretrained"}
    foreign = config["text_cfg"].get("hf_model_name") or config["text_cfg"].get("hf_tokenizer_name")
    if foreign:
        raise WeightsError(
            f"{architecture} encodes texts with {foreign}: only models with CLIP's own text tower and "
            "tokenizer can be imported, for instance ViT-B-16/openai"
        )
    resize = pretrained.get("resize_mode", "shortest")
    if resize not in _RESIZES:
        raise WeightsError(f"{architecture} resizes photographs by {resize!r}, which bundles do not support")
    shown = {name: pretrained[name] for name in ("mean", "std") if pretrained.get(name)}
    try:
        backbone = BackboneConfig(
            embed_dim=config["embed_dim"],
            vision=vision,
            text=config["text_cfg"],
            quick_gelu=(pretrained or config).get("quick_gelu", False),
        )
        preprocessing = Preprocessing(
            image_size=vision.get("image_size", 224),
            resize=_RESIZES[resize],
            interpolation="bilinear" if pretrained.get("interpolation") == "bilinear" else "bicubic",
            **shown,
        )
        with torch.device("meta"):
            Backbone(backbone)
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise WeightsError(f"{architecture} cannot be imported: {reason}") from error
    return backbone, preprocessing
