"""The configuration of `task: photographs`, which fits a checkpoint to your own photographs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from sigrl.model.config import Frozen
from sigrl.model.vocabulary import Label
from sigrl.training.data.check import BadData
from sigrl.training.loop.task import LoopConfig
from sigrl.training.losses.options import An, AnLs, Em, Epr, Iu, Pr, Wan

PhotographLoss = Annotated[Iu | An | AnLs | Wan | Em | Epr | Pr, Field(discriminator="kind")]
"""The single-positive losses that need only the labels."""


def _from_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class PhotographsConfig(Frozen):
    """One run. `sigrl-train init` writes such a file, with a comment on every key."""

    task: Literal["photographs"] = "photographs"
    start: Literal["bundled"] | Path = "bundled"
    """Checkpoint to start from: the one in the package, or a bundle's directory. Its head must be in the
    context form."""
    photographs: Path | None = None
    """Folder of the photographs."""
    labels: Path | None = None
    """Their labels: `.csv` or `.jsonl` (`read_label_file`), `.json` in COCO's format. None: the names of the
    sub-folders."""
    shards: str | None = None
    """WebDataset shards instead, `train-{000..012}.tar` (`read_shards`)."""
    vocabulary: tuple[Annotated[Label, BeforeValidator(_from_name)], ...] = ()
    """The labels to learn, each a name or an object with `synonyms`. Empty: all labels of the data."""
    complete: bool = False
    """True: a label that is not given for a photograph does not apply. False: it is unknown."""
    validation: str | None = None
    """A label file of the same folder, or shards, on which epochs are compared. None: `validation_share` of
    the photographs, which are then not trained on."""
    validation_share: float = Field(0.2, gt=0, lt=1)
    bad_data: BadData = "stop"
    """For unusable data (files, labels outside the vocabulary, contradictions, labels without photographs):
    stop at the first, or skip and count them."""
    check: Literal["decode", "exists"] = "decode"
    """The check before training: decode every file completely, or only see whether it exists."""
    loss: PhotographLoss | None = None
    """None: `iu` if every label has a known negative, otherwise `an_ls`."""
    balance: Literal["none", "inverse_frequency"] = "none"
    """Weight of a label's positives: 1, or the ratio of its negatives to its positives."""
    largest_weight: float = Field(10.0, ge=1)
    """Maximum of that weight."""
    remember: float = Field(5.0, ge=0)
    """Weight of keeping the start's scores for other names, so that the checkpoint can still tag them."""
    tower: Literal["frozen", "tuned"] = "frozen"
    """`frozen`: the image tower runs once over each photograph, then its projection (SigLIP and CLIP's
    ResNets have none) and the scales are trained, in minutes on a CPU. `tuned`: the whole image tower is
    trained, which takes a GPU."""
    cache: Literal["float16", "int8", "pooled", "none"] = "float16"
    """How a frozen tower's features are kept on disk. `int8` takes half of the room. `pooled` takes a quarter
    for the training photographs, whose patch tokens it averages over squares of 2 x 2; epochs are compared on
    whole ones. `none` keeps nothing and passes every photograph through the tower in every epoch."""
    learning_rate: float = Field(1e-4, gt=0)
    """Learning rate of the projection and the scales."""
    tower_learning_rate: float = Field(1e-5, gt=0)
    """Learning rate of the rest of the image tower, if it is tuned."""
    warm_up_epochs: float = Field(1, ge=0)
    augment: bool = True
    """Frozen tower: each photograph and its mirror image. Tuned: random crops, colours and mirroring."""
    loop: LoopConfig = LoopConfig(epochs=15, batch_size=32, patience=5, averaging=0.9)

    @model_validator(mode="after")
    def _check_source(self) -> "PhotographsConfig":
        if (self.photographs is None) == (self.shards is None):
            raise ValueError("name the data: `photographs` with `labels`, or `shards`")
        if self.shards is not None and self.labels is not None:
            raise ValueError("`shards` contain their labels: remove `labels`")
        if self.validation is not None and self.shards is None and self.labels is None:
            raise ValueError("sub-folders are split by `validation_share`: remove `validation`")
        if self.warm_up_epochs >= self.loop.epochs:
            raise ValueError("`warm_up_epochs` must be less than `loop.epochs`")
        return self
