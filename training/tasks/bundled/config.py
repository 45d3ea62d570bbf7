"""The configuration of a training run: one typed YAML file."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from sigrl.model.config import BackboneConfig, Frozen, HeadConfig, Preprocessing
from sigrl.training.data.dataset import read_yaml


class DataConfig(Frozen):
    """Photographs with labels and captions in COCO's layout, and the labels that training must not see."""

    root: Path
    """Folder with `annotations/` and one folder of photographs per split."""
    train_split: str = "train2014"
    """The split to train on."""
    test_split: str = "val2014"
    """The split to evaluate on; it is used for nothing else."""
    hidden_labels: tuple[str, ...] = ()
    """Labels withheld from training: they are removed from the targets, the captions and the label lists."""
    other_names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other names of hidden labels; a text that contains one of them is removed too."""
    label_lists: tuple[Path, ...] = ()
    """Lists of names whose scores are distilled, so that the model stays broad when it is trained on few
    labels."""


class PretrainConfig(Frozen):
    """`sigrl-train pretrain`: builds a dual encoder from an ImageNet tower and a sentence encoder."""

    backbone: BackboneConfig
    preprocessing: Preprocessing
    frozen_blocks: int = 6
    """Number of stages of the image tower that are frozen; their output is computed once and cached."""
    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 6e-4
    """Learning rate of the image projection and the scales."""
    tower_learning_rate: float = 2e-4
    """Learning rate of the image tower's trained stages."""
    text_learning_rate: float = 1e-4
    """Learning rate of the text projection; the sentence encoder itself is frozen."""
    weight_decay: float = 0.01
    distilled_labels: int = 256
    """Number of names drawn from the label lists for each step."""
    label_weight: float = 1.5
    """Weight of the labels' binary cross-entropy (mean over photographs, sum over labels)."""
    distillation_weight: float = 0.2
    """Weight of the distilled names' binary cross-entropy, on the same scale per 80 names."""
    caption_weight: float = 1.0
    """Weight of the contrastive loss between photographs and captions."""
    bridge_weight: float = 10.0
    """Weight of one minus the cosine between image embedding and bridge embedding."""
    seed: int = 0


class FitConfig(Frozen):
    """`sigrl-train fit`: trains a head on frozen towers."""

    head: HeadConfig
    epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    """Dropout in the label graph."""
    sampled_context: int = 8
    """Number of context labels drawn for each step, for speed. SVFR's mean stays unbiased; its affinity does
    not."""
    distilled_labels: int = 256
    """Number of names drawn from the label lists for each step. Their targets are the towers' own scores
    before fit."""
    distillation_weight: float = 0.5
    held_out: float = 0.1
    """Share of the training photographs on which the default threshold is chosen."""
    seed: int = 0


class TrainingConfig(Frozen):
    """The whole configuration of one model: `pretrain` builds the towers, `fit` trains a head on them."""

    task: Literal["bundled"] = "bundled"
    start: Path | None = None
    """The bundle that `pretrain` wrote; `fit` requires it."""
    cache: Path = Path("cache")
    """Folder for the cached outputs of frozen modules (several GB)."""
    data: DataConfig
    pretrain: PretrainConfig
    fit: FitConfig
    threads: int = Field(2, ge=1)
    """Number of torch threads. A run repeats exactly only with the same number."""


def load_config(path: Path) -> TrainingConfig:
    """Reads a YAML file. Raises DataError if it is not YAML, and pydantic's ValidationError, which names the
    key, if it does not match the schema."""
    return TrainingConfig.model_validate(read_yaml(path))
