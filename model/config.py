"""What a bundle's manifest says about the model: typed, frozen, without torch."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Base of every configuration here: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(Frozen):
    """How an RGB photograph becomes the image tower's input."""

    image_size: int = Field(224, ge=16, le=1024)
    """Side of the square input, in pixels."""
    resize: Literal["squash", "crop"] = "crop"
    """`squash` ignores the aspect ratio and loses nothing; `crop` scales the short side and cuts the centre."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Filter of the resize (Pillow's, with antialiasing)."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Subtracted per channel after scaling to 0..1; the default is CLIP's."""
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    """Divides per channel; the default is CLIP's."""


class SentenceEncoderConfig(Frozen):
    """A BERT-shaped sentence encoder with mean pooling, for text towers other than CLIP's."""

    vocab_size: int = 30522
    """Rows of the token table."""
    width: int = 384
    """Size of a hidden state."""
    layers: int = 6
    """Number of transformer blocks."""
    heads: int = 12
    """Attention heads of a block."""
    feed_forward: int = 1536
    """Hidden size of a block's MLP."""
    context_length: int = 64
    """Tokens kept of a text, the two special ones included."""


class BackboneConfig(Frozen):
    """An image tower and a text tower with one joint space."""

    embed_dim: int = Field(ge=1)
    """D, the size of the joint space."""
    vision: dict[str, Any]
    """open_clip's `vision_cfg`: a ViT, or any timm model by `timm_model_name`."""
    text: dict[str, Any] | None = None
    """open_clip's `text_cfg`, for CLIP's own text tower. Exactly one of `text`, `sentence_encoder`."""
    sentence_encoder: SentenceEncoderConfig | None = None
    """A sentence encoder followed by a linear map into the joint space."""
    quick_gelu: bool = False
    """x * sigmoid(1.702 x) in place of GELU: OpenAI's CLIP weights need it."""
    prompts: tuple[str, ...] = ("There is a {label} in the scene",)
    """Templates of a label's texts; the features of several are averaged."""


class HeadConfig(Frozen):
    """Which head scores, and in which form."""

    kind: Literal["clip", "mkt", "sigrl"] = "sigrl"
    """`clip`: global matching. `mkt`: global and local matching. `sigrl`: with GMC and SVFR."""
    form: Literal["published", "context"] = "context"
    """`published`: the paper's scores, which depend on the label set. `context`: cosine with learned
    temperature, SVFR over the context labels: a label's score is independent of the other labels."""
    top_k: int = Field(16, ge=1)
    """Patches averaged into the local score."""
    normalize_scores: bool = True
    """Published form only: L2-normalise each score over the label axis."""
    gmc: bool = True
    """Refine labels by the graph (GMC). Off only in ablations."""
    svfr: bool = True
    """Reconstruct patch tokens under the labels (SVFR). Off only in ablations."""
    context_labels: tuple[str, ...] = ()
    """Context form only: the labels over which SVFR and the graph run, in the order of the bundle's
    `head.context_label_embeddings`."""
