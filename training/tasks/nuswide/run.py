"""Open vocabulary on NUS-WIDE: trains 925 labels and tests 81 others, alone (ZSL) and among all (GZSL).

Deliberate differences from the published code: epochs are compared on photographs held out from training, not
on the test photographs, which are scored once at the end; and the tower's own mean and deviation of pixels
are used, not ImageNet's.
"""

from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from pydantic import Field
from torch import Tensor

from sigrl.model.backbone import Backbone
from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.config import HeadConfig
from sigrl.model.heads import SigRLHead, create_head
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.photographs import AugmentedPhotographs
from sigrl.training.loop.loop import create_accelerator, train
from sigrl.training.loop.schedules import WarmUpCosine
from sigrl.training.measures.results import Outcome
from sigrl.training.tasks.nuswide.data import NusWide, NusWideRun, load_nuswide
from sigrl.training.tasks.nuswide.results import finish, measure_held_out, run_identity
from sigrl.training.tasks.nuswide.task import OpenVocabularyModel, OpenVocabularyTask
from sigrl.training.tasks.nuswide.teacher import frozen_teacher


class NusWideConfig(NusWideRun):
    """One run; the defaults are the protocol's."""

    task: Literal["open_vocabulary"] = "open_vocabulary"
    start: Path
    """Bundle with the towers to train, which also teach; from `sigrl-train import --open-clip
    ViT-B-16/openai`."""
    head: HeadConfig = HeadConfig(form="published")
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout in the label graph."""
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(1e-7, ge=0)
    warm_up_epochs: float = Field(2, ge=0)
    frozen_layers: int = Field(10, ge=-1)
    """See `layer_decay_groups`."""
    layer_decay: float = Field(0.65, gt=0, le=1)
    weight_decay: float = Field(0.05, ge=0)


def fit_nuswide(config: NusWideConfig, directory: Path) -> Outcome:
    """Trains, or resumes an interrupted run in `directory`. Then tests the best epoch and writes
    `results.json` and a bundle into `directory`. `torchrun` may start several processes of it.

    Raises DataError for data or a directory that cannot be used, and BundleError for the start's bundle.
    """
    accelerator = create_accelerator(config.loop)
    data, start = load_nuswide(config), load_bundle(config.start)
    set_seed(config.loop.seed)
    task, label_embeddings = create_task(config, data, start)
    progress = train(task, config.loop, directory, run_identity(config, data, start))
    name = f"{task.module.head.config.kind} on NUS-WIDE"
    return finish(name, config, data, start, task.module, label_embeddings, progress, directory, accelerator)


def create_task(config: NusWideConfig, data: NusWide, start: Bundle) -> tuple[OpenVocabularyTask, Tensor]:
    """The task, ready for `train`, and the embeddings [C, D] of all labels, seen ones first."""
    backbone: Backbone = start.model.backbone
    with torch.no_grad():
        label_embeddings = backbone.encode_labels(Vocabulary.from_names(data.test.label_names).labels)
    seen_names = data.train.label_names
    seen = label_embeddings[: len(seen_names)]
    in_context = config.head.kind == "sigrl" and config.head.form == "context"
    head_config = config.head.model_copy(update={"context_labels": seen_names if in_context else ()})
    head = create_head(head_config, start.manifest.backbone.embed_dim, config.dropout)
    if in_context and isinstance(head, SigRLHead):
        head.set_context(seen)
    teacher = frozen_teacher(backbone)
    backbone.visual.requires_grad_(True)

    def compare(model: OpenVocabularyModel, accelerator: Accelerator) -> dict[str, float]:
        return measure_held_out(model, seen, accelerator, config, data, start)

    task = OpenVocabularyTask(
        module=OpenVocabularyModel(backbone, head, seen),
        teacher=teacher,
        schedule=WarmUpCosine(
            config.learning_rate, config.final_learning_rate, config.warm_up_epochs, config.loop.epochs
        ),
        train_data=AugmentedPhotographs(data.train, start.manifest.preprocessing),
        frozen_layers=config.frozen_layers,
        layer_decay=config.layer_decay,
        weight_decay=config.weight_decay,
        evaluation=compare,
    )
    return task, label_embeddings
