"""`task: photographs`: fits a checkpoint to your own photographs, without losing its other labels.

With a frozen tower, photographs pass through it once and a run takes minutes on a CPU.
"""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sigrl.model.bundle import Bundle, TaggingModel, load_bundle, save_bundle
from sigrl.model.bundle_files import bundled_path
from sigrl.model.calibration import probabilities
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import Description
from sigrl.training.bundles.finishing import saved_with_graphs
from sigrl.training.bundles.provenance import commit
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.loop.loop import create_accelerator, train
from sigrl.training.measures.evaluation import evaluate_scores
from sigrl.training.measures.results import Outcome, Results, write_results
from sigrl.training.tasks.photographs.bundle import PhotographsRun
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.data import OwnData, load_own_data
from sigrl.training.tasks.photographs.measures import (
    assume_negatives,
    choose_loss,
    choose_threshold,
    mean_average_precision,
)
from sigrl.training.tasks.photographs.model import PhotographTagger

VOCABULARY = "vocabulary.json"


def fit_photographs(config: PhotographsConfig, directory: Path) -> Outcome:
    """Trains, or resumes an interrupted run in `directory`. Writes `bundle/`, which can be served,
    `vocabulary.json` and `results.json` there. `torchrun` may start several processes of it.

    Raises DataError for data, a start or a directory that cannot be used, and BundleError for the start's
    bundle.
    """
    accelerator = create_accelerator(config.loop)
    data = load_own_data(config)
    start = load_bundle(bundled_path() if config.start == "bundled" else config.start)
    run = PhotographsRun(config, data, start, accelerator, directory)
    task, before = run.create_task()
    progress = train(task, run.loop, directory, run.identity())
    scores, validation = run.score_validation(), assume_negatives(data.validation)
    threshold = choose_threshold(scores, validation.labels)
    measured = {
        "start/mAP": mean_average_precision(before, validation.labels),
        "validation/mAP": mean_average_precision(scores, validation.labels),
    }
    outcome = Outcome(measured, progress.best_epoch, directory / "bundle", data.skipped)
    if accelerator.is_main_process:
        _write_results(
            directory, config, outcome, validation, threshold, {"start": before, "validation": scores}
        )
        text = data.vocabulary.model_dump_json(indent=2, exclude_defaults=True)
        (directory / VOCABULARY).write_text(text + "\n", encoding="utf-8")
        if not (directory / "bundle").exists():
            _save(config, data, start, run.module, outcome, threshold)
    accelerator.wait_for_everyone()
    return outcome


def _write_results(
    directory: Path,
    config: PhotographsConfig,
    outcome: Outcome,
    validation: LabelledPhotographs,
    threshold: float,
    scores: dict[str, np.ndarray],
) -> None:
    evaluations = {
        name: evaluate_scores(of, probabilities(of, "context"), threshold, validation)
        for name, of in scores.items()
    }
    results = Results(
        task=config.task,
        measured=dict(outcome.measured),
        best_epoch=outcome.best_epoch,
        skipped=dict(outcome.skipped),
        evaluations=evaluations,
        configuration=config.model_dump(mode="json"),
    )
    write_results(directory, results)


def _save(
    config: PhotographsConfig,
    data: OwnData,
    start: Bundle,
    trained: PhotographTagger,
    outcome: Outcome,
    threshold: float,
) -> None:
    manifest = start.manifest
    head = _trained_head(manifest.head)
    model = TaggingModel(manifest.backbone, head, start.tokenizer)
    model.backbone.load_state_dict(trained.backbone.state_dict())
    parts = trained.head.state_dict()
    model.head.load_state_dict({name: parts[name] for name in model.head.state_dict()})
    positives = (data.train.labels == 1).sum(axis=0).tolist()
    provenance = {
        "data": str(config.shards or config.labels or config.photographs),
        "photographs": {"training": len(data.train), "validation": len(data.validation)},
        "labels": dict(zip(data.train.label_names, positives, strict=True)),
        "skipped": dict(outcome.skipped),
        "loss": choose_loss(config, data.train.labels).model_dump(mode="json"),
        "configuration": config.model_dump(mode="json"),
        "commands": ["sigrl-train fit"],
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "metrics": dict(outcome.measured),
        "start": {"checkpoint": start.checkpoint_id, "name": manifest.name, **manifest.provenance},
    }
    description = Description(
        name=f"{manifest.name[:150]}, fitted to own photographs",
        backbone=manifest.backbone,
        head=head,
        preprocessing=manifest.preprocessing,
        default_threshold=threshold,
        provenance=provenance,
    )
    assert outcome.bundle is not None
    with saved_with_graphs(outcome.bundle) as made:
        save_bundle(made, description, model.state_dict(), start.tokenizer)


def _trained_head(head: HeadConfig) -> HeadConfig:
    """The head's configuration after training, whose logits already are probabilities. An evidence head keeps
    only its matching, because its knowledge of words and classes was not trained."""
    if head.kind == "evidence":
        return HeadConfig(kind="mkt", top_k=head.top_k)
    return head.model_copy(update={"adds_commonness": False})
