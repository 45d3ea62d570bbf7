"""Tiny models of every family that open_clip lists: random weights, and tokenizers trained on the spot."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip import create_model, factory, get_model_config
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from tiny_timm import register_tower
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import M2M100Config, PreTrainedTokenizerFast, XLMRobertaConfig

from sigrl.model.config import TextEncoderConfig
from sigrl.training.backbones import text_encoders

SENTENCES = (
    "a photo of a dog and a red car",
    "There is a cat in the scene, and a bicycle!",
    "日本語のラベル 犬 猫 自転車",
    "eine rote Straße, un café naïf, dos perros",
    "one two three four five six seven eight nine ten",
)
ODD_TEXTS = (
    "",
    " \t\n",
    "Dog",
    "a photo of a red_car.",
    "dog's naïve café, “quoted” ﬁn &amp;amp; &lt;b&gt;",
    "日本語のラベル 犬",
    "🐶🐕‍🦺 dog",
    "x" * 300,
    "dog " * 200,
)
WIDTH = 32
TIMM_SIGLIP = "vit_tiny32_patch16_siglip_64"
VIT = {"image_size": 64, "patch_size": 16, "width": WIDTH, "head_width": 16, "layers": 2}
RESNET = {"image_size": 64, "patch_size": None, "width": 4, "head_width": 16, "layers": [1, 1, 1, 1]}
SIGLIP_VIT = {"image_size": 64, "timm_model_name": TIMM_SIGLIP, "timm_pool": "map", "timm_proj": "none"}
TEXT = {"context_length": 16, "width": WIDTH, "heads": 2, "layers": 2}
SMALL_CLIP_TEXT = {"width": 8, "heads": 1, "layers": 1}
SIGLIP_TEXT = TEXT | {
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
COCA = {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5, "output_tokens": True}


@dataclass(frozen=True)
class Family:
    """A tiny model: open_clip's configuration, and what its text tower needs of Hugging Face."""

    vision: dict[str, Any]
    text: dict[str, Any]
    tokenizer: str | None = None
    """One of `TOKENIZERS`."""
    encoder: str | None = None
    """`roberta` or `nllb`: the kind of a text encoder of transformers."""
    others: dict[str, Any] | None = None
    """Further entries of the configuration."""


SIGMOID = {"init_logit_bias": -10, "custom_text": True}
FAMILIES = {
    "clip": Family(VIT, SMALL_CLIP_TEXT),
    "clip-quickgelu": Family(VIT, SMALL_CLIP_TEXT, others={"quick_gelu": True}),
    "siglip": Family(SIGLIP_VIT, SIGLIP_TEXT, "sentencepiece", others=SIGMOID),
    "siglip2": Family(
        SIGLIP_VIT, SIGLIP_TEXT | {"act_kwargs": {"approximate": "tanh"}}, "gemma", others=SIGMOID
    ),
    "clipa": Family(
        VIT | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        TEXT | {"tokenizer_kwargs": {"strip_sep_token": True}, "pool_type": "last", "no_causal_mask": True},
        "bert",
    ),
    "worldwide": Family(VIT, TEXT | {"pool_type": "eos", "eos_id": 2}, "xlm", others={"quick_gelu": True}),
    "resnet": Family(RESNET, SMALL_CLIP_TEXT, others={"quick_gelu": True}),
    "coca": Family(
        VIT | COCA,
        SMALL_CLIP_TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True},
        others={
            "custom_text": True,
            "multimodal_cfg": {"context_length": 76, "width": WIDTH, "heads": 2, "layers": 1},
        },
    ),
    "xlm-roberta": Family(VIT, {"hf_pooler_type": "mean_pooler"}, "xlm", "roberta"),
    "nllb": Family(
        SIGLIP_VIT,
        {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"},
        "nllb",
        "nllb",
        {"init_logit_bias": -10, "custom_text": True},
    ),
}

SMALLEST = ("MobileCLIP2-S0", "MobileCLIP2-B", "PE-Core-T-16-384", "EVA02-B-16", "ViTamin-S", "convnext_tiny")
"""open_clip's smallest architectures of the families whose image towers timm has; MobileCLIP 2 has two kinds
of them."""


@dataclass(frozen=True)
class TinyClip:
    """An open_clip model with random weights, and its files."""

    name: str
    """Of the architecture, in open_clip's list of configurations."""
    model: Any
    file: Path
    """The weights, beside the tokenizer's files."""


def make_clip(name: str, folder: Path, patch: pytest.MonkeyPatch) -> TinyClip:
    """The tiny model of `FAMILIES[name]` as open_clip knows it within the patch, with weights that float16
    represents exactly."""
    family = FAMILIES[name]
    text = dict(family.text)
    if family.tokenizer is not None:
        vocabulary = write_tokenizer(family.tokenizer, folder)
        text["hf_tokenizer_name"] = str(folder)
        if family.encoder is None:
            text["vocab_size"] = vocabulary
        else:
            text["hf_model_name"] = _write_encoder(family.encoder, folder, vocabulary, patch)
    config = {"embed_dim": WIDTH, "vision_cfg": family.vision, "text_cfg": text, **(family.others or {})}
    return _make(f"tiny-{name}", config, folder, patch)


def make_smallest(architecture: str, folder: Path, patch: pytest.MonkeyPatch) -> TinyClip:
    """A model with the image tower of one of `SMALLEST`, and with its text tower made narrow and shallow, as
    `make_clip` makes the others."""
    config = get_model_config(architecture)
    config["text_cfg"] |= {"width": WIDTH, "heads": 2, "layers": 2}
    return _make(f"tiny-{architecture}", config, folder, patch)


def _make(name: str, config: dict[str, Any], folder: Path, patch: pytest.MonkeyPatch) -> TinyClip:
    patch.setitem(factory._MODEL_CONFIGS, name, config)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = create_model(name, pretrained_hf=False).eval()
        randomize(model)
    save_file(model.state_dict(), folder / "weights.safetensors")
    return TinyClip(name, model, folder / "weights.safetensors")


@torch.no_grad()
def randomize(model: torch.nn.Module) -> None:
    """Moves all weights away from their initial values, among them zeros and ones, and rounds them as a
    bundle stores them."""
    for parameter in model.parameters():
        moved = parameter + 0.05 * torch.randn_like(parameter)
        parameter.copy_(moved.half() if parameter.ndim > 1 else moved)


def _write_encoder(kind: str, folder: Path, vocabulary: int, patch: pytest.MonkeyPatch) -> str:
    """Writes a configuration of transformers, and adds it to the text encoders that can be imported."""
    shape = {"vocab_size": vocabulary, "pad_token_id": 1, "max_position_embeddings": 90}
    if kind == "roberta":
        config: Any = XLMRobertaConfig(
            **shape, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            type_vocab_size=1, layer_norm_eps=1e-5,
        )  # fmt: skip
    else:
        config = M2M100Config(
            **shape, d_model=WIDTH, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64,
            decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64,
        )  # fmt: skip
    name = str(folder / "encoder")
    config.save_pretrained(name)
    ours = TextEncoderConfig(
        kind=kind, vocab_size=vocabulary, width=WIDTH, layers=2, heads=2, feed_forward=64
    )
    patch.setitem(text_encoders.TEXT_ENCODERS, name, ours)
    return name


def register_tiny_siglip() -> None:
    """Adds a SigLIP image tower of two small blocks to timm's models, for this process."""

    def tower(**options: Any) -> VisionTransformer:
        options = {"global_pool": "map"} | options
        return VisionTransformer(
            img_size=64, patch_size=16, embed_dim=WIDTH, depth=2, num_heads=2, class_token=False, **options
        )

    register_tower(TIMM_SIGLIP, "timm.models.vision_transformer", tower)


def write_tokenizer(kind: str, folder: Path) -> int:
    """Trains a tokenizer on `SENTENCES` and writes its files as transformers does. Returns its size."""
    tokenizer, special = TOKENIZERS[kind]()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="right", **special).save_pretrained(
        folder
    )
    return int(tokenizer.get_vocab_size())


def _unigram(first: list[str], single: str, unknown: str) -> Tokenizer:
    """As SentencePiece makes them: pieces of a text whose words begin with a mark."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=first, unk_token=unknown, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    marks = [(token, tokenizer.token_to_id(token)) for token in first if token in single]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
    return tokenizer


def _sentencepiece() -> tuple[Tokenizer, dict[str, str]]:
    special = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return _unigram(["<pad>", "</s>", "<unk>"], "$A </s>", "<unk>"), special


def _xlm() -> tuple[Tokenizer, dict[str, str]]:
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    return _unigram(["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>", "<unk>"), special


def _nllb() -> tuple[Tokenizer, dict[str, str]]:
    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    first = ["<s>", "<pad>", "</s>", "<unk>", "eng_Latn"]
    return _unigram(first, "eng_Latn $A </s>", "<unk>"), special


def _gemma() -> tuple[Tokenizer, dict[str, str]]:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    first = ["<pad>", "<eos>", "<bos>", "<unk>"]
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=[*first, *bytes_], show_progress=False)
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in SENTENCES[:2]], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer, {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}


def _bert() -> tuple[Tokenizer, dict[str, str]]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer, {"pad_token": "[PAD]", "sep_token": "[SEP]", "cls_token": "[CLS]", "unk_token": "[UNK]"}


TOKENIZERS = {"sentencepiece": _sentencepiece, "gemma": _gemma, "bert": _bert, "xlm": _xlm, "nllb": _nllb}


def tiny_clips(folder: Path) -> Iterator[Any]:
    """Yields a function from the name of a family to its `TinyClip`, made once."""
    register_tiny_siglip()
    made: dict[str, TinyClip] = {}
    with pytest.MonkeyPatch.context() as patch:

        def make(name: str) -> TinyClip:
            if name not in made:
                (folder / name).mkdir()
                made[name] = make_clip(name, folder / name, patch)
            return made[name]

        yield make
