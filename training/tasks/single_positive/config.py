"""The configuration of a single-positive run."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sigrl.model.config import Frozen, HeadConfig
from sigrl.training.data.check import BadData
from sigrl.training.loop.task import LoopConfig
from sigrl.training.losses.options import EmApl, EmPl, EmPlAsl, SinglePositiveOptions
from sigrl.training.losses.pseudo_labels import VlplOptions


class VocData(Frozen):
    """PASCAL VOC 2012: 5,717 training photographs; the 5,823 photographs of its `val` are the test set."""

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
    """File `{"image id": category id}` with the positive of each training photograph, for a published draw
    other than the protocol's own."""


class LinearHead(Frozen):
    """A linear classifier on the image embedding, as in VLPL; it knows its labels only by number."""

    kind: Literal["linear"] = "linear"


class ClipTower(Frozen):
    """The towers of the bundle `start`, with a head."""

    kind: Literal["clip"] = "clip"
    head: Annotated[HeadConfig | LinearHead, Field(discriminator="kind")] = HeadConfig(form="published")
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout in the label graph."""
    learned_scale: bool = True
    """For the published form, whose scores have unit norm over the labels, so that a sigmoid of them stays
    between 0.42 and 0.58. True: a learned scale and bias are applied before the sigmoid. False: as
    published."""
    image_size: int | None = Field(None, ge=16, le=1024)
    """In pixels; a ViT's position embeddings are interpolated. None: the tower's own size, as in VLPL and
    SigRL."""


class TimmTower(Frozen):
    """A timm classifier that starts from ImageNet weights: ResNet-50 in ROLE, AckTheUnknown and VLPL. Its
    batch norms use the statistics of each process's share of a batch."""

    kind: Literal["timm"] = "timm"
    name: str = Field("resnet50.tv_in1k", pattern=r"^[\w.]+$")
    """timm's name of architecture and weights; the default is torchvision's first weights, as published."""
    weights: Path | None = None
    """A local weight file (.safetensors, .pth). None: timm downloads the weights."""
    image_size: int = Field(448, ge=16, le=1024)


class TeacherConfig(VlplOptions):
    """VLPL's pseudo-labels, made once before training; for `em_pl` and `em_pl_asl`."""

    teacher: Path | None = None
    """Bundle of a CLIP. None: `start`."""


class SinglePositiveConfig(Frozen):
    """One run with several seeds; the defaults are the protocol's."""

    task: Literal["single_positive"] = "single_positive"
    data: Annotated[VocData | CocoData, Field(discriminator="kind")]
    start: Path | None = None
    """Bundle with the towers of `tower: {kind: clip}`, from `sigrl-train import`."""
    tower: Annotated[ClipTower | TimmTower, Field(discriminator="kind")]
    loss: SinglePositiveOptions
    pseudo_labels: TeacherConfig = TeacherConfig()
    learning_rate: float = Field(1e-5, gt=0)
    """Adam's learning rate, which is constant."""
    head_learning_rate: float | None = Field(None, gt=0)
    """Learning rate of the new parameters: head, scale, classifier. None: the same rate, as published."""
    estimator_learning_rate: float | None = Field(None, gt=0)
    """Learning rate of `role`'s label estimator. None: ten times `learning_rate`, as published."""
    seeds: tuple[int, ...] = Field((0, 1, 8), min_length=1)
    """One run per seed. The seeds differ in the new parameters' initial values, and in the order and
    mirroring of photographs. Splits and observed labels are the same for all."""
    bad_data: BadData = "stop"
    """For missing or unreadable photographs: stop at the first, or skip and count them."""
    check: Literal["decode", "exists"] = "decode"
    """The check before training: decode every file completely, or only see whether it exists."""
    loop: LoopConfig = LoopConfig(epochs=10, batch_size=8)

    @property
    def teacher(self) -> Path | None:
        """The bundle that makes pseudo-labels, if the loss needs them."""
        if not isinstance(self.loss, EmPl | EmPlAsl):
            return None
        return self.pseudo_labels.teacher or self.start

    @model_validator(mode="after")
    def _check(self) -> "SinglePositiveConfig":
        if self.tower.kind == "clip" and self.start is None:
            raise ValueError("the tower `clip` starts from a bundle: set `start`, or pass --start BUNDLE")
        if isinstance(self.loss, EmPl | EmPlAsl) and self.teacher is None:
            raise ValueError(
                f"the loss {self.loss.kind} needs a CLIP's pseudo-labels: set `pseudo_labels.teacher`"
            )
        if isinstance(self.loss, EmApl) and self.loss.warmup_epochs >= self.loop.epochs:
            raise ValueError("`loss.warmup_epochs` leaves no epoch for pseudo-labels: raise `loop.epochs`")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("`seeds` has one seed twice: remove the duplicate")
        if self.loop.seed:
            raise ValueError("this task runs several seeds: set `seeds` in place of `loop.seed`")
        return self
