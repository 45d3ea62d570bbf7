"""The model's configuration in a bundle's manifest: typed, frozen, without torch."""

import re
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

_DOWNLOADS = {
    "timm_model_pretrained",
    "hf_model_name",
    "hf_tokenizer_name",
    "tokenizer_mode",
    "tokenizer_kwargs",
}
"""Keys of open_clip's configurations that refer to a hub or a file outside the bundle."""

CLIP_TOKENS = 49408
"""Rows of CLIP's token table, unless open_clip's `text_cfg` states another number."""
CLIP_CONTEXT = 77
"""Tokens of a text in CLIP's text tower, unless `text_cfg` states another number."""


class Frozen(BaseModel):
    """Base of every configuration here: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(Frozen):
    """The conversion of an RGB photograph to the image tower's input."""

    image_size: int = Field(224, ge=16, le=1024)
    """Side of the square input, in pixels."""
    resize: Literal["squash", "crop"] = "crop"
    """`squash` ignores the aspect ratio and loses nothing; `crop` scales the short side and crops the
    centre."""
    short_side: int | None = Field(None, ge=16, le=2048)
    """For `crop`: the short side in pixels before the crop. None: `image_size`, which loses least. MKT and
    SigRL scale it to 256 and crop 224."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Filter of the resize (Pillow's, with antialiasing)."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Subtracted per channel after scaling to 0..1; the default is CLIP's."""
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    """Divides per channel; the default is CLIP's."""

    @model_validator(mode="after")
    def _check_short_side(self) -> "Preprocessing":
        if self.short_side is not None and (self.resize == "squash" or self.short_side < self.image_size):
            raise ValueError("`short_side` is for `resize: crop`, and at least `image_size`")
        return self

    @property
    def seen_side(self) -> float:
        """The side of the square that `crop` keeps, as a share of the photograph's shorter side."""
        return self.image_size / (self.short_side or self.image_size)

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out a `short_side` that is not set, so that identities of bundles and caches stay the
        same."""
        values: dict[str, Any] = dump(self)
        if values.get("short_side") is None:
            values.pop("short_side", None)
        return values


class SentenceEncoderConfig(Frozen):
    """A BERT-shaped sentence encoder with mean pooling, for text towers other than CLIP's."""

    vocab_size: int = Field(30522, ge=1)
    """Rows of the token table."""
    width: int = Field(384, ge=1)
    """Width of a hidden state."""
    layers: int = Field(6, ge=1)
    """Number of transformer blocks."""
    heads: int = Field(12, ge=1)
    """Attention heads per block."""
    feed_forward: int = Field(1536, ge=1)
    """Hidden size of a block's MLP."""
    context_length: int = Field(64, ge=3)
    """Maximum number of tokens per text, including the two special ones."""

    @model_validator(mode="after")
    def _check_heads(self) -> "SentenceEncoderConfig":
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be divided among {self.heads} heads")
        return self


class TextEncoderConfig(Frozen):
    """A text encoder of Hugging Face's transformers with open_clip's projection: see
    `sigrl.model.text_encoder`."""

    kind: Literal["roberta", "nllb"]
    """`roberta`: RoBERTa and XLM-RoBERTa. `nllb`: the encoder of NLLB (transformers' M2M100)."""
    vocab_size: int = Field(ge=2)
    """Rows of the token table."""
    width: int = Field(ge=4)
    """Width of a hidden state."""
    layers: int = Field(ge=1)
    """Number of transformer blocks."""
    heads: int = Field(ge=1)
    """Attention heads per block."""
    feed_forward: int = Field(ge=1)
    """Hidden size of a block's MLP."""
    context_length: int = Field(77, ge=3)
    """Maximum number of tokens per text, including the special ones."""
    padding_token: int = Field(1, ge=0)
    """Id of the padding, which no token attends to."""
    pooling: Literal["mean", "first"] = "mean"
    """The mean of the hidden states, or that of the first token."""
    projection: Literal["linear", "mlp"] = "mlp"
    """The map into the joint space."""


class TokenizerConfig(Frozen):
    """How texts are prepared for the `tokenizer.json` that was published with a text tower. Truncation and
    padding are written in that file."""

    clean: Literal["none", "whitespace", "lower", "canonicalize"] = "whitespace"
    """open_clip's cleaning. `none`: the text as it is. `whitespace`: repairs Unicode and HTML entities, and
    joins white space. `lower` also lower-cases. `canonicalize` also removes ASCII punctuation."""
    blanked_token: int | None = None
    """A token that becomes 0, the padding: CLIPA was trained without BERT's separator."""


class WordTowerConfig(Frozen):
    """The parts that `sigrl.model.word_tower` adds to a convolutional classifier."""

    words: int = Field(ge=1)
    """Number of words with a logit: the evidence head's `known_words`."""
    classes: int = Field(1000, ge=1)
    """Number of classes of the classifier."""
    hidden: int = Field(1024, ge=1)
    """Hidden size between the pooled features and the words."""
    tuned_blocks: int = Field(1, ge=1)
    """Number of last blocks of the classifier that exist twice: as trained, and tuned for words."""


class BackboneConfig(Frozen):
    """An image tower and a text tower with one joint space."""

    embed_dim: int = Field(ge=1)
    """D, the size of the joint space."""
    vision: dict[str, Any]
    """open_clip's `vision_cfg`: a ViT, or any timm model by `timm_model_name`."""
    text: dict[str, Any] | None = None
    """open_clip's `text_cfg`, for CLIP's own text tower. Exactly one of `text`, `sentence_encoder`,
    `text_encoder`."""
    sentence_encoder: SentenceEncoderConfig | None = None
    """A sentence encoder followed by a linear map into the joint space."""
    text_encoder: TextEncoderConfig | None = None
    """A text encoder that was published as a part of an open_clip model."""
    tokenizer: TokenizerConfig | None = None
    """For a `text` or `text_encoder` that has a tokenizer.json of its own. None: CLIP's tokenizer."""
    words: WordTowerConfig | None = None
    """The image tower is a `model.word_tower.WordTower` on timm's `vision["timm_model_name"]`. None: it is
    open_clip's."""
    quick_gelu: bool = False
    """x * sigmoid(1.702 x) instead of GELU, which OpenAI's CLIP weights need."""
    prompts: tuple[str, ...] = Field(("There is a {label} in the scene",), min_length=1)
    """Templates of a label's texts; the features of several templates are averaged."""
    learned_prompt: bool = False
    """The single prompt's own tokens have learned vectors (prompt tuning), whatever the label; see
    `sigrl.model.prompt_tokens`."""

    @property
    def token_rows(self) -> int:
        """Rows of the text tower's token table."""
        encoder = self.sentence_encoder or self.text_encoder
        if encoder is not None:
            return encoder.vocab_size
        return int((self.text or {}).get("vocab_size", CLIP_TOKENS))

    @property
    def context_length(self) -> int:
        """Maximum number of tokens per text."""
        encoder = self.sentence_encoder or self.text_encoder
        if encoder is not None:
            return encoder.context_length
        return int((self.text or {}).get("context_length", CLIP_CONTEXT))

    @property
    def has_tokenizer_file(self) -> bool:
        """Whether the tokenizer is a file of the bundle. CLIP's is part of open_clip."""
        return self.sentence_encoder is not None or self.tokenizer is not None

    @model_validator(mode="after")
    def _check_towers(self) -> "BackboneConfig":
        towers = (self.text, self.sentence_encoder, self.text_encoder)
        if sum(tower is not None for tower in towers) != 1:
            raise ValueError("set exactly one text tower: `text`, `sentence_encoder` or `text_encoder`")
        self._check_tokenizer()
        asked = _DOWNLOADS.intersection(
            key for tower in (self.vision, self.text or {}) for key, value in tower.items() if value
        )
        if asked:
            raise ValueError(
                f"`{min(asked)}` fetches from a hub: name an architecture that is part of open_clip or timm, "
                "whose weights come with the bundle"
            )
        name = self.vision.get("timm_model_name")
        if self.words is not None and name is None:
            raise ValueError("a word tower needs a classifier: name it in `vision.timm_model_name`")
        if name is not None and not re.fullmatch(r"[\w.]+", str(name)):
            raise ValueError(f"`timm_model_name` {name!a} is not one of timm's own models")
        if any("{label}" not in prompt for prompt in self.prompts):
            raise ValueError("every prompt needs the placeholder `{label}`")
        if self.learned_prompt and len(self.prompts) > 1:
            raise ValueError("only a single prompt can be learned: keep one template in `prompts`")
        return self

    def _check_tokenizer(self) -> None:
        if self.tokenizer is not None and self.sentence_encoder is not None:
            raise ValueError("a sentence encoder cleans its texts by itself: remove `tokenizer`")
        if self.tokenizer is None and self.text_encoder is not None:
            raise ValueError("`text_encoder` needs `tokenizer`, which says how texts are prepared for it")
        if self.tokenizer is not None and self.learned_prompt:
            raise ValueError("a prompt is learned only with CLIP's tokenizer or with a sentence encoder")


class EvidenceConfig(Frozen):
    """The sizes and names of an evidence head; see `sigrl.model.evidence_arrays`."""

    known_words: tuple[tuple[str, ...], ...] = Field(min_length=1)
    """The names of each word with a logit in the image tower: the word, then its synonyms."""
    class_texts: int = Field(ge=1)
    """Number of names of all the classifier's classes together; a class may have several."""
    lexicon: int = Field(ge=1)
    """Number of words that training met in captions and class names; by them a label is known or not."""
    rank: int = Field(64, ge=1)
    """Rank of the graph over the scores."""
    kind_pairs: int = Field(0, ge=0, exclude_if=lambda pairs: not pairs)
    """Number of pairs of a known word and a class that is a kind of it."""
    rival_pairs: int = Field(0, ge=0, exclude_if=lambda pairs: not pairs)
    """Number of pairs of known words that lower each other's logits."""
    broader_words: tuple[tuple[str, ...], ...] = Field((), exclude_if=lambda words: not words)
    """The names of each word that is broader than known words or classes; only with `kind_pairs`."""
    broader_pairs: int = Field(0, ge=0, exclude_if=lambda pairs: not pairs)
    """Number of pairs of a broader word and a known word or class below it."""
    caption_words: tuple[str, ...] = Field((), exclude_if=lambda words: not words)
    """The words of captions whose mentions are predicted from the image tower's logits."""
    tower_logits: int = Field(0, ge=0, exclude_if=lambda logits: not logits)
    """Number of the image tower's logits, of known words and classes; only with `caption_words`."""
    new_word_threshold: float | None = Field(None, ge=0, le=1)
    """Threshold of a label that is neither a known word nor the name of a class; None: that of all labels."""

    @model_validator(mode="after")
    def _check_broader_words(self) -> "EvidenceConfig":
        if self.broader_words and not self.kind_pairs:
            raise ValueError("`broader_words` need `kind_pairs`, whose gains say how much a class counts")
        if bool(self.broader_words) != bool(self.broader_pairs) or not all(self.broader_words):
            raise ValueError("`broader_words` and `broader_pairs` belong together, and every word has a name")
        return self

    @model_validator(mode="after")
    def _check_caption_words(self) -> "EvidenceConfig":
        if bool(self.caption_words) != bool(self.tower_logits):
            raise ValueError("`caption_words` and `tower_logits` belong together")
        return self


class HeadConfig(Frozen):
    """The kind of head, and its form."""

    kind: Literal["clip", "sparc", "piaa", "tagclip", "mkt", "biam", "sigrl", "evidence"] = "sigrl"
    """`clip`: global matching. `sparc`: the same, standardised over the context labels. `piaa`: a classifier
    of patches, fitted to each label set. `tagclip`: patches refined by attention, and crops. `mkt`: global
    and local matching. `biam`: with patches enriched by bi-level attention. `sigrl`: with GMC and SVFR.
    `evidence`: that of `sigrl.model.evidence`; it needs the image tower of `words`."""
    form: Literal["published", "context"] = "context"
    """`published`: the paper's scores, which depend on the label set. `context`: cosine with learned
    temperature and SVFR over the context labels; a label's score is independent of the other labels."""
    top_k: int = Field(16, ge=1)
    """Number of patches averaged into the local score: 16 in MKT and SigRL, 6 in BiAM."""
    normalize_scores: bool = True
    """Published form only: L2-normalise each score over the label axis. BiAM never does."""
    gmc: bool = True
    """Refine labels with the graph (GMC). Off only in ablations."""
    svfr: bool = True
    """Reconstruct patch tokens from the labels (SVFR). Off only in ablations."""
    context_labels: tuple[str, ...] = ()
    """Context form: the labels over which SVFR and the graph run, or scores are standardised; `tagclip`: the
    background. In the order of the bundle's `head.context_label_embeddings`."""
    adds_commonness: bool = Field(False, exclude_if=lambda adds: not adds)
    """Logits are an imported model's own: until they are calibrated, `sigrl.model.commonness` is added."""
    patches: int = Field(0, ge=0, exclude_if=lambda patches: not patches)
    """Rows of `head.patches`, the unlabelled patches of a piaa head."""
    evidence: EvidenceConfig | None = None
    """Required for the kind `evidence`, and only for it."""

    @model_validator(mode="after")
    def _check_kind(self) -> "HeadConfig":
        if (self.kind == "evidence") != (self.evidence is not None):
            raise ValueError("`evidence` belongs to heads of that kind, and to no others")
        if self.kind == "sparc" and (self.form != "context" or len(self.context_labels) < 2):
            raise ValueError("a sparc head needs the form `context` and at least two `context_labels`")
        if (self.kind == "piaa") != (self.patches > 0) or (self.patches and self.form != "published"):
            raise ValueError("a piaa head, and no other, needs `patches` and the form `published`")
        if self.kind == "tagclip" and (self.form != "published" or not self.context_labels):
            raise ValueError("a tagclip head needs the form `published` and `context_labels`, its background")
        if self.evidence is not None and self.form != "context":
            raise ValueError("an evidence head scores every label independently: its form must be `context`")
        return self

    @property
    def trained_labels(self) -> tuple[str, ...]:
        """The context labels that were trained, so that their logits are probabilities."""
        return () if self.kind in ("sparc", "tagclip") else self.context_labels

    @property
    def independent_scores(self) -> bool:
        """Whether a label's score is independent of the other labels asked for."""
        return self.form == "context" or self.kind == "biam"
