"""What a single-positive run is told."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sigrl.model.config import Frozen, HeadConfig
from sigrl.training.data.check import BadData
from sigrl.training.loop.task import LoopConfig
from sigrl.training.losses.options import EmApl, EmPl, EmPlAsl, SinglePositiveOptions
from sigrl.training.losses.pseudo_labels import VlplOptions


class VocData(Frozen):
    """PASCAL VOC 2012: 5,717 training photographs, the 5,823 of its `val` are the test set."""

    kind: Literal["voc"] = "voc"
    root: Path
    """See `read_voc`."""


class CocoData(Frozen):
    """COCO 2014, or any folder in its layout."""

    kind: Literal["coco"] = "coco"
    root: Path
    """See `read_coco`."""
    train_split: str = "train2014"
    test_split: str = "val2014"
    draw: Path | None = None
    """File `{"image id": category id}` with each training photograph's positive, where another draw than the
    protocol's own was published."""


class LinearHead(Frozen):
    """A linear classifier of the image embedding, as in VLPL: it knows its labels by number alone."""

    kind: Literal["linear"] = "linear"


class ClipTower(Frozen):
    """The towers of the bundle `start`, with a head."""

    kind: Literal["clip"] = "clip"
    head: Annotated[HeadConfig | LinearHead, Field(discriminator="kind")] = HeadConfig(form="published")
    dropout: float = Field(0.3, ge=0, lt=1)
    """Of the label graph."""
    learned_scale: bool = True
    """Published form: scores have unit norm over the labels, and a sigmoid of them alone stays between 0.42
    and 0.58. A learned scale and bias stand before it; False: as published."""
    image_size: int | None = Field(None, ge=16, le=1024)
    """Pixels; a ViT's position embeddings are interpolated. None: the tower's own size, as in VLPL and
    SigRL."""


class TimmTower(Frozen):
    """A classifier of timm's, ImageNet weights at the start: ResNet-50 in ROLE, AckTheUnknown and VLPL. Where
    it has batch norms, each of several processes normalises its own share of a batch."""

    kind: Literal["timm"] = "timm"
    name: str = Field("resnet50.tv_in1k", pattern=r"^[\w.]+$")
    """timm's name of architecture and weights; these are torchvision's first, as published."""
    weights: Path | None = None
    """The weights (.safetensors, .pth), where they are at hand. None: timm fetches them."""
    image_size: int = Field(448, ge=16, le=1024)


class TeacherConfig(VlplOptions):
    """VLPL's pseudo-labels, made once, before training; for `em_pl` and `em_pl_asl`."""

    teacher: Path | None = None
    """Bundle of a CLIP. None: `start`."""


class SinglePositiveConfig(Frozen):
    """One run, of several seeds; the defaults are the protocol's."""

    task: Literal["single_positive"] = "single_positive"
    data: Annotated[VocData | CocoData, Field(discriminator="kind")]
    start: Path | None = None
    """Bundle with the towers of `tower: {kind: clip}`, from `sigrl-train import`."""
    tower: Annotated[ClipTower | TimmTower, Field(discriminator="kind")]
    loss: SinglePositiveOptions
    pseudo_labels: TeacherConfig = TeacherConfig()
    learning_rate: float = Field(1e-5, gt=0)
    """Adam's, constant."""
    head_learning_rate: float | None = Field(None, gt=0)
    """Of what is new: head, scale, classifier. None: the same, as published."""
    estimator_learning_rate: float | None = Field(None, gt=0)
    """Of `role`'s label estimator. None: ten times `learning_rate`, as published."""
    seeds: tuple[int, ...] = Field((0, 1, 8), min_length=1)
    """One run each; they differ in what is new at the start, and in order and mirroring of photographs.
    Splits and observed labels are the same for all."""
    bad_data: BadData = "stop"
    """Photographs that are missing or unreadable: stop at the first, or skip and count."""
    check: Literal["decode", "exists"] = "decode"
    """What is looked at before training: every file read to its end, or only whether it is there."""
    loop: LoopConfig = LoopConfig(epochs=10, batch_size=8)

    @property
    def teacher(self) -> Path | None:
        """The bundle that makes pseudo-labels, where the loss needs them."""
        if not isinstance(self.loss, EmPl | EmPlAsl):
            return None
        return self.pseudo_labels.teacher or self.start

    @model_validator(mode="after")
    def _check(self) -> "SinglePositiveConfig":
        if self.tower.kind == "clip" and self.start is None:
            raise ValueError("the tower `clip` starts from a bundle: set `start`, or give --start BUNDLE")
        if isinstance(self.loss, EmPl | EmPlAsl) and self.teacher is None:
            raise ValueError(f"the loss {self.loss.kind} needs a CLIP's guesses: set `pseudo_labels.teacher`")
        if isinstance(self.loss, EmApl) and self.loss.warmup_epochs >= self.loop.epochs:
            raise ValueError("`loss.warmup_epochs` leaves no epoch for pseudo-labels: raise `loop.epochs`")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("`seeds` names one twice: a mean over copies has no deviation")
        if self.loop.seed:
            raise ValueError("this task runs several seeds: set `seeds` in place of `loop.seed`")
        return self
