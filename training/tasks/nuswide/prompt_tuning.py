"""MKT's second stage: the image side is frozen, and the prompt's token vectors learn to rank the labels.

The learned vectors replace the template's tokens, including the start and end tokens, in the text of any
label, so that untrained labels benefit too. The published code is equivalent: it trains the rows of the token
table and restores those of the labels' own words. Epochs are compared as in `training.tasks.nuswide.run`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import Dataset

from sigrl.model.backbone import Backbone
from sigrl.model.blocks import even_slices, run_block
from sigrl.model.bundle import Bundle, TaggingModel, load_bundle
from sigrl.model.label_texts import TEXT_BATCH
from sigrl.model.matching import MatchingHead
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.training.data.dataset import DataError
from sigrl.training.data.photographs import AugmentedPhotographs
from sigrl.training.loop.loop import create_accelerator, train
from sigrl.training.loop.schedules import WarmUpCosine
from sigrl.training.loop.task import LoopConfig, Schedule, StepOutput
from sigrl.training.losses.open_vocabulary import ranking_loss
from sigrl.training.measures.results import Outcome
from sigrl.training.tasks.nuswide.data import NusWide, NusWideRun, load_nuswide
from sigrl.training.tasks.nuswide.results import finish, measure_held_out, run_identity


class PromptTuningConfig(NusWideRun):
    """One run; the defaults are the published code's."""

    task: Literal["prompt_tuning"] = "prompt_tuning"
    start: Path
    """Bundle of the first stage (`task: open_vocabulary`, head `mkt`), or any other with a single prompt."""
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-8, ge=0)
    warm_up_epochs: float = Field(0, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    loop: LoopConfig = LoopConfig(epochs=4, batch_size=64)


class PromptedModel(nn.Module):
    """Frozen towers and head with a learned prompt, and the texts of the trained labels."""

    token_ids: Tensor

    def __init__(self, backbone: Backbone, head: MatchingHead, labels: Sequence[Label]) -> None:
        """`backbone` has a learned prompt, see `learn_prompt`."""
        super().__init__()
        self.backbone = backbone
        self.head = head
        texts = [label.texts(backbone.config.prompts)[0] for label in labels]
        self.register_buffer("token_ids", torch.from_numpy(backbone.tokenize(texts)), persistent=False)

    @property
    def prompt(self) -> nn.Parameter:
        """[tokens of the prompt, width of the text tower]."""
        prompt: nn.Parameter = self.backbone.text.token_embedding.prompt
        return prompt

    def train(self, mode: bool = True) -> "PromptedModel":  # noqa: ARG002
        """Stays in evaluation mode, so that frozen parts have no dropout."""
        return super().train(False)

    def label_embeddings(self) -> Tensor:
        """Label embeddings [C, D]. In training only one block of texts at a time keeps its activations: those
        of all NUS-WIDE texts in CLIP's tower would need over 10 GB."""
        blocks = even_slices(len(self.token_ids), TEXT_BATCH)
        encode, alone = self.backbone.encode_texts, len(blocks) == 1
        return torch.cat([run_block(encode, self.token_ids[block], alone=alone) for block in blocks])

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixel values [B, 3, S, S] -> scores [B, C]."""
        with torch.no_grad():
            features = self.backbone.encode_images(pixel_values)
        scores: Tensor = self.head.score(features, self.head.label_features(self.label_embeddings()))
        return scores


def learn_prompt(start: Bundle) -> TaggingModel:
    """The bundle's model with a learned prompt: the bundle's own, or one initialised with the template.

    Raises DataError for a bundle with several templates, and for a text tower that cannot learn a prompt.
    """
    config = start.manifest.backbone
    if config.learned_prompt:
        return start.model
    if len(config.prompts) > 1:
        raise DataError(
            f"the bundle {start.manifest.name!r} averages {len(config.prompts)} prompts, and prompt tuning "
            "learns only one: start from a bundle with a single prompt"
        )
    prompted = config.model_copy(update={"learned_prompt": True})
    try:
        model = TaggingModel(prompted, start.manifest.head, start.tokenizer)
    except ValueError as error:
        raise DataError(f"the bundle {start.manifest.name!r} cannot be tuned: {error}") from error
    model.load_state_dict(start.model.state_dict(), strict=False)
    table: Any = model.backbone.text.token_embedding
    with torch.no_grad():
        table.prompt.copy_(table.weight[torch.from_numpy(model.backbone.prompt_tokens.replaced)])
    return model


@dataclass
class PromptTuningTask:
    """See `training.loop.task.Task`. Batches are as in `OpenVocabularyTask`."""

    module: PromptedModel
    schedule: Schedule
    train_data: Dataset[Any]
    weight_decay: float
    evaluation: Callable[[PromptedModel, Accelerator], dict[str, float]]
    measure: str = "seen/mAP"

    def optimizer(self) -> AdamW:
        """AdamW over the prompt alone."""
        self.module.requires_grad_(False)
        prompt = self.module.prompt.requires_grad_(True)
        return AdamW([prompt], weight_decay=self.weight_decay)

    def training_step(self, module: nn.Module, batch: tuple[Tensor, Tensor]) -> StepOutput:
        """The ranking loss."""
        pixel_values, labels = batch
        return StepOutput(ranking_loss(module(pixel_values), labels), {})

    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:
        """See `evaluation`."""
        return self.evaluation(self.module, accelerator)


def fit_prompt(config: PromptTuningConfig, directory: Path) -> Outcome:
    """As `training.tasks.nuswide.run.fit_nuswide`; also raises DataError for a bundle that cannot be
    tuned."""
    accelerator = create_accelerator(config.loop)
    start = load_bundle(config.start)
    model = learn_prompt(start)
    data = load_nuswide(config)
    set_seed(config.loop.seed)
    task = create_task(config, data, start, model)
    progress = train(task, config.loop, directory, run_identity(config, data, start))
    with torch.no_grad():
        labels = Vocabulary.from_names(data.test.label_names).labels
        label_embeddings = model.backbone.encode_labels(labels)
    name = "prompt tuned on NUS-WIDE"
    return finish(name, config, data, start, model, label_embeddings, progress, directory, accelerator)


def create_task(
    config: PromptTuningConfig, data: NusWide, start: Bundle, model: TaggingModel
) -> PromptTuningTask:
    """The task, ready for `train`; `model` is from `learn_prompt`."""

    def compare(module: PromptedModel, accelerator: Accelerator) -> dict[str, float]:
        with accelerator.autocast():
            seen = module.label_embeddings().float()
        return measure_held_out(module, seen, accelerator, config, data, start)

    labels = Vocabulary.from_names(data.train.label_names).labels
    return PromptTuningTask(
        module=PromptedModel(model.backbone, model.head, labels),
        schedule=WarmUpCosine(
            config.learning_rate, config.final_learning_rate, config.warm_up_epochs, config.loop.epochs
        ),
        train_data=AugmentedPhotographs(data.train, start.manifest.preprocessing),
        weight_decay=config.weight_decay,
        evaluation=compare,
    )
