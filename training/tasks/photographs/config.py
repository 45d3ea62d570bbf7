"""What `task: photographs` is told: one's own photographs, and how a checkpoint is fitted to them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from sigrl.model.config import Frozen
from sigrl.model.vocabulary import Label
from sigrl.training.data.check import BadData
from sigrl.training.loop.task import LoopConfig
from sigrl.training.losses.options import An, AnLs, Em, Epr, Iu, Pr, Wan

PhotographLoss = Annotated[Iu | An | AnLs | Wan | Em | Epr | Pr, Field(discriminator="kind")]
"""The single-positive losses that need nothing but the labels."""


def _from_name(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class PhotographsConfig(Frozen):
    """One run. `sigrl-train init` writes such a file, with a comment on every key."""

    task: Literal["photographs"] = "photographs"
    start: Literal["bundled"] | Path = "bundled"
    """Checkpoint to start from: the one in the package, or a bundle's directory. Its head is in the context
    form."""
    photographs: Path | None = None
    """Folder of the photographs."""
    labels: Path | None = None
    """What is said of them: `.csv` or `.jsonl` (`read_label_file`), `.json` in COCO's format. None: the
    sub-folders' names."""
    shards: str | None = None
    """In their place WebDataset shards, `train-{000..012}.tar` (`read_shards`)."""
    vocabulary: tuple[Annotated[Label, BeforeValidator(_from_name)], ...] = ()
    """The labels to learn, each a name or an object with `synonyms`; none: all labels of the data."""
    complete: bool = False
    """Whether a label that is not said to hold does not hold; otherwise it is unknown."""
    validation: str | None = None
    """A label file of the same folder, or shards, to compare epochs on; None: `validation_share` of the
    photographs, which are then not trained on."""
    validation_share: float = Field(0.2, gt=0, lt=1)
    bad_data: BadData = "stop"
    """What cannot be used (files, labels outside the vocabulary, contradictions, labels without photographs):
    stop at the first, or skip and count."""
    check: Literal["decode", "exists"] = "decode"
    """What is looked at before training: every file read to its end, or only whether it is there."""
    loss: PhotographLoss | None = None
    """None: `iu` where every label is known not to hold somewhere, else `an_ls`."""
    balance: Literal["none", "inverse_frequency"] = "none"
    """Weight of a label's positives: 1, or how many times more often it is absent than present."""
    largest_weight: float = Field(10.0, ge=1)
    """Cap of that weight."""
    remember: float = Field(5.0, ge=0)
    """Weight of staying with what the start says of other names, so that the checkpoint tags these too."""
    tower: Literal["frozen", "tuned"] = "frozen"
    """`frozen`: the image tower runs once over each photograph, then its projection and the scales are
    trained: minutes on a CPU. `tuned`: the whole image tower is trained; it takes a GPU."""
    learning_rate: float = Field(1e-4, gt=0)
    """Of projection and scales."""
    tower_learning_rate: float = Field(1e-5, gt=0)
    """Of the rest of the image tower, where it is tuned."""
    warm_up_epochs: float = Field(1, ge=0)
    augment: bool = True
    """Frozen tower: each photograph and its mirror image; tuned: other cuts, colours and mirrored, each
    time."""
    loop: LoopConfig = LoopConfig(epochs=15, batch_size=32, patience=5, averaging=0.9)

    @model_validator(mode="after")
    def _check_source(self) -> "PhotographsConfig":
        if (self.photographs is None) == (self.shards is None):
            raise ValueError("name the data: `photographs` with `labels`, or `shards`")
        if self.shards is not None and self.labels is not None:
            raise ValueError("`shards` hold their labels: leave `labels` out")
        if self.validation is not None and self.shards is None and self.labels is None:
            raise ValueError("sub-folders are split by `validation_share`: leave `validation` out")
        if self.warm_up_epochs >= self.loop.epochs:
            raise ValueError("`warm_up_epochs` must be less than `loop.epochs`")
        return self
