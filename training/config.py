"""What a training run is told: one YAML file, typed."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from sigrl.model.config import BackboneConfig, Frozen, HeadConfig, Preprocessing
from sigrl.training.data.dataset import DataError


class DataConfig(Frozen):
    """Photographs with labels and captions in COCO's layout, and what of them is kept from training."""

    root: Path
    """Folder with `annotations/` and one folder of photographs per split."""
    train_split: str = "train2014"
    """Split that is trained on."""
    test_split: str = "val2014"
    """Split that is evaluated on, and on nothing else."""
    hidden_labels: tuple[str, ...] = ()
    """Labels kept out of training: out of the targets, the captions and the label lists."""
    other_names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other names of hidden labels; a text that names one of them is left out too."""
    label_lists: tuple[Path, ...] = ()
    """Lists of names whose scores are distilled, so that breadth survives training on few labels."""


class PretrainConfig(Frozen):
    """`sigrl-train pretrain`: a dual encoder out of an ImageNet tower and a sentence encoder."""

    backbone: BackboneConfig
    preprocessing: Preprocessing
    frozen_blocks: int = 6
    """Stages of the image tower that stay as they are; their output is computed once and cached."""
    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 6e-4
    """Of the image projection and the scales."""
    tower_learning_rate: float = 2e-4
    """Of the image tower's trained stages."""
    text_learning_rate: float = 1e-4
    """Of the text projection; the sentence encoder itself stays as it is."""
    weight_decay: float = 0.01
    distilled_labels: int = 256
    """Names drawn from the label lists for each step."""
    label_weight: float = 1.5
    """Weight of the labels' binary cross-entropy (mean over photographs, sum over labels)."""
    distillation_weight: float = 0.2
    """Weight of the distilled names' binary cross-entropy, in the same measure per 80 names."""
    caption_weight: float = 1.0
    """Weight of the contrastive loss between photographs and captions."""
    bridge_weight: float = 10.0
    """Weight of one minus the cosine between image embedding and bridge embedding."""
    seed: int = 0


class FitConfig(Frozen):
    """`sigrl-train fit`: a head on frozen towers."""

    head: HeadConfig
    epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    """Of the label graph."""
    sampled_context: int = 8
    """Context labels drawn for each step, for speed. SVFR's mean stays unbiased, its affinity does not."""
    distilled_labels: int = 256
    """Names drawn from the label lists for each step; their targets are the towers' own scores before fit."""
    distillation_weight: float = 0.5
    held_out: float = 0.1
    """Share of the training photographs on which the default threshold is chosen."""
    seed: int = 0


class TrainingConfig(Frozen):
    """Everything of one model: `pretrain` makes towers, `fit` puts a head on them."""

    task: Literal["bundled"] = "bundled"
    start: Path | None = None
    """Bundle that `pretrain` wrote; `fit` needs it."""
    cache: Path = Path("cache")
    """Folder for the outputs of frozen modules (several GB)."""
    data: DataConfig
    pretrain: PretrainConfig
    fit: FitConfig
    threads: int = Field(2, ge=1)
    """Threads of torch, and the reason why a run repeats exactly only on the same number."""


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises DataError where it is none."""
    try:
        return yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def load_config(path: Path) -> TrainingConfig:
    """Reads a YAML file; raises DataError where it is none, and pydantic's ValidationError, which names the
    key."""
    return TrainingConfig.model_validate(read_yaml(path))
