"""The identity of a run on NUS-WIDE, the measure that compares its epochs, and its results."""

import hashlib
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from sigrl.model.bundle import Bundle, save_bundle
from sigrl.model.manifest import Description
from sigrl.training.bundles.finishing import saved_with_graphs
from sigrl.training.loop.loop import Progress
from sigrl.training.measures.results import Outcome, Results, write_results
from sigrl.training.tasks.nuswide.data import NusWide, NusWideRun
from sigrl.training.tasks.nuswide.evaluation import (
    Tagging,
    evaluate_tests,
    measures,
    score_photographs,
    zero_shot_tests,
)


def run_identity(config: NusWideRun, data: NusWide, start: Bundle) -> dict[str, Any]:
    """The identity for `train`: settings, start and photographs."""
    names = "\n".join([*(data.train.ids or ()), "", *(data.held_out.ids or ())])
    return {
        "task": config.model_dump(mode="json", exclude={"loop", "start", "root", "check", "bad_data"}),
        "start": start.checkpoint_id,
        "photographs": hashlib.sha256(names.encode()).hexdigest(),
    }


def measure_held_out(
    model: Tagging,
    seen: Tensor,
    accelerator: Accelerator,
    config: NusWideRun,
    data: NusWide,
    start: Bundle,
) -> dict[str, float]:
    """`seen/mAP` and similar measures of the photographs held out from training, under the seen labels'
    embeddings [C, D]; empty if no photographs are held out."""
    if len(data.held_out) == 0:
        return {}
    preprocessing, workers = start.manifest.preprocessing, config.loop.workers
    paths = data.held_out.image_paths
    (scores,) = score_photographs(model, accelerator, paths, preprocessing, [seen], workers=workers)
    return measures("seen", scores, data.held_out.labels)


def finish(
    name: str,
    config: NusWideRun,
    data: NusWide,
    start: Bundle,
    model: Tagging,
    label_embeddings: Tensor,
    progress: Progress,
    directory: Path,
    accelerator: Accelerator,
) -> Outcome:
    """Tests the trained `model` and writes `results.json` and its bundle into `directory`.

    `name` describes the training; `label_embeddings` [C, D] are those of all labels, seen ones first.
    """
    seen = len(data.train.label_names)
    preprocessing, workers = start.manifest.preprocessing, config.loop.workers
    label_sets = [label_embeddings[seen:], label_embeddings]
    unseen, every = score_photographs(
        model, accelerator, data.test.image_paths, preprocessing, label_sets, workers=workers
    )
    scores, tests = {"zsl": unseen, "gzsl": every}, zero_shot_tests(data.test, seen)
    measured = {
        measure: value
        for kind, photographs in tests.items()
        for measure, value in measures(kind, scores[kind], photographs.labels).items()
    }
    outcome = Outcome(measured, progress.best_epoch, directory / "bundle", data.skipped)
    if accelerator.is_main_process:
        content = config.model_dump(mode="json")
        results = Results(
            task=content["task"],
            measured=measured,
            best_epoch=outcome.best_epoch,
            skipped=data.skipped,
            evaluations=evaluate_tests(
                tests, scores, model.head.config.form, start.manifest.default_threshold
            ),
            configuration=content,
        )
        write_results(directory, results)
        if not (directory / "bundle").exists():
            _save(name, content, start, model, outcome)
    accelerator.wait_for_everyone()
    return outcome


def _save(
    name: str, configuration: dict[str, Any], start: Bundle, trained: Tagging, outcome: Outcome
) -> None:
    manifest = start.manifest
    tensors = {f"backbone.{key}": tensor for key, tensor in trained.backbone.state_dict().items()}
    tensors |= {f"head.{key}": tensor for key, tensor in trained.head.state_dict().items()}
    provenance = {
        "data": "NUS-WIDE, seen labels of the training photographs",
        "start": {"checkpoint": start.checkpoint_id, "name": manifest.name, **manifest.provenance},
        "configuration": configuration,
        "metrics": outcome.measured,
    }
    description = Description(
        name=f"{manifest.name[:150]}, {name}",
        backbone=trained.backbone.config,
        head=trained.head.config,
        preprocessing=manifest.preprocessing,
        default_threshold=manifest.default_threshold,
        provenance=provenance,
    )
    assert outcome.bundle is not None
    with saved_with_graphs(outcome.bundle) as made:
        save_bundle(made, description, tensors, start.tokenizer)
