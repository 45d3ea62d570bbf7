"""open_clip's CLIP models: found by name, described as our configuration, downloaded by open_clip's own
code."""

import sigrl.model.torchvision_cure  # noqa: F401 (before open_clip, which imports torchvision)

# isort: split
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from huggingface_hub import hf_hub_download
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

from sigrl.model.config import BackboneConfig, Preprocessing, TokenizerConfig
from sigrl.model.manifest import TOKENIZER
from sigrl.model.open_clip_towers import build_image_tower
from sigrl.model.text_towers import build_text_tower, build_tokenizer
from sigrl.training.backbones.published_tokenizer import SETTINGS
from sigrl.training.backbones.text_encoders import TEXT_ENCODERS, rename_text_encoder
from sigrl.training.backbones.weight_files import WeightsError

_OF_TOKENIZER = {"hf_tokenizer_name", "tokenizer_kwargs"}
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
    tokenizer_repository: str | None
    """The hub's repository with the text tower's tokenizer.json; None for CLIP's own tokenizer."""
    strip_separator: bool
    """open_clip's `strip_sep_token`."""

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
    options = get_model_config(architecture)["text_cfg"]
    return OpenClipSource(
        architecture,
        tag if pretrained else None,
        file,
        pretrained,
        backbone,
        preprocessing,
        options.get("hf_tokenizer_name"),
        options.get("tokenizer_kwargs", {}).get("strip_sep_token", False),
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


def fetch_tokenizer(source: OpenClipSource) -> Path | None:
    """The folder with the text tower's tokenizer.json: the folder of a local weight file, or the hub's cache,
    into which it is downloaded. None for CLIP's own tokenizer.

    Raises WeightsError, which says what to do without a network.
    """
    if source.tokenizer_repository is None:
        return None
    if source.file is not None:
        return source.file.parent
    names = (TOKENIZER, SETTINGS)
    try:
        files = [hf_hub_download(source.tokenizer_repository, name) for name in names]
    except Exception as error:  # the hub's errors have no narrower base
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise WeightsError(
            f"the tokenizer of {source.name} cannot be fetched ({reason}): download {' and '.join(names)} "
            f"from https://huggingface.co/{source.tokenizer_repository} elsewhere, put them beside the "
            f"weights, and import these with --open-clip {source.architecture}/PATH/{source.tag}.safetensors"
        ) from error
    return Path(files[0]).parent


def rename(source: OpenClipSource, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a CLIP's tensors to the names of `Backbone`, from open_clip's older names and from Apple's. A
    tensor of neither tower keeps its name; CoCa's writer of captions is left out. Raises WeightsError for
    tensors of another architecture, as far as names show it."""
    with torch.device("meta"):
        model = SimpleNamespace(visual=build_image_tower(source.backbone))
    try:
        converted = convert_state_dict(model, dict(tensors))
    except (AttributeError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"the weights are Apple's and do not fit {source.architecture}: name the architecture that they "
            "belong to, for instance MobileCLIP-S1"
        ) from error
    renamed = dict(convert_to_custom_text_state_dict(converted))
    encoder = source.backbone.text_encoder
    if encoder is not None:
        text = {name.removeprefix("text."): one for name, one in renamed.items() if name.startswith("text.")}
        renamed = {name: one for name, one in renamed.items() if not name.startswith("text.")}
        renamed |= {f"text.{name}": one for name, one in rename_text_encoder(text, encoder).items()}
    return {name: one for name, one in renamed.items() if not name.startswith("text_decoder.")}


def _describe(architecture: str, pretrained: Mapping[str, Any]) -> tuple[BackboneConfig, Preprocessing]:
    """The towers' configuration, with our default prompts, and the preprocessing. Raises WeightsError."""
    config = get_model_config(architecture)
    vision = {name: value for name, value in config["vision_cfg"].items() if name != "timm_model_pretrained"}
    resize = pretrained.get("resize_mode", "shortest")
    if resize not in _RESIZES:
        raise WeightsError(f"{architecture} resizes photographs by {resize!r}, which bundles do not support")
    shown = {name: pretrained[name] for name in ("mean", "std") if pretrained.get(name)}
    try:
        backbone = BackboneConfig(
            embed_dim=config["embed_dim"],
            vision=vision,
            **_describe_text(architecture, config["text_cfg"]),
            quick_gelu=(pretrained or config).get("quick_gelu", False),
        )
        preprocessing = Preprocessing(
            image_size=vision.get("image_size", 224),
            resize=_RESIZES[resize],
            interpolation="bilinear" if pretrained.get("interpolation") == "bilinear" else "bicubic",
            **shown,
        )
        with torch.device("meta"):
            build_image_tower(backbone)
            build_text_tower(backbone)
        if not backbone.has_tokenizer_file:
            build_tokenizer(backbone, None)
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise WeightsError(f"{architecture} cannot be imported: {reason}") from error
    return backbone, preprocessing


def _describe_text(architecture: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a `BackboneConfig` for open_clip's `text_cfg`. Raises WeightsError."""
    cleaning = options.get("tokenizer_kwargs", {}).get("clean", "whitespace")
    tokenizer = TokenizerConfig(clean=cleaning) if options.get("hf_tokenizer_name") else None
    encoder = options.get("hf_model_name")
    if encoder is None:
        own = {name: value for name, value in options.items() if name not in _OF_TOKENIZER}
        return {"text": own, "tokenizer": tokenizer}
    if encoder not in TEXT_ENCODERS:
        raise WeightsError(
            f"{architecture} encodes texts with {encoder}, which bundles do not support: choose a model with "
            f"CLIP's text tower, or with one of {', '.join(sorted(TEXT_ENCODERS))}"
        )
    pooling = {"mean_pooler": "mean", "cls_pooler": "first"}[options.get("hf_pooler_type", "mean_pooler")]
    changes = {"pooling": pooling, "projection": options.get("hf_proj_type", "mlp")}
    return {"text_encoder": TEXT_ENCODERS[encoder].model_copy(update=changes), "tokenizer": tokenizer}
