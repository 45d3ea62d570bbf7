"""`task: everyday`, from photographs to a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sigrl.model.bundle_files import BundleError, write_files
from sigrl.training.backbones.initialisation import minilm_tokenizer, starting_point
from sigrl.training.bundles.finishing import saved_with_graphs
from sigrl.training.data.dataset import DataError
from sigrl.training.measures.results import Outcome, Results, read_results, write_results
from sigrl.training.tasks.everyday.assemble import assemble, save_towers, towers
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.draft import Draft, make_draft
from sigrl.training.tasks.everyday.evaluation import measure, measure_head
from sigrl.training.tasks.everyday.graph import graph_arrays
from sigrl.training.tasks.everyday.known_words import default_threshold, known_word_gains
from sigrl.training.tasks.everyday.left_out import train_left_out
from sigrl.training.tasks.everyday.new_words import fit_left_out
from sigrl.training.tasks.everyday.run import train
from sigrl.training.tasks.everyday.start import Start
from sigrl.training.tasks.everyday.trained import Trained

BUNDLE = "bundle"
"""Folder of the bundle in a run's directory."""
_ELSEWHERE = {"cache", "threads"}
"""Settings that do not affect a finished run."""
_LICENCES = {
    "image tower": "EfficientNet-Lite2, ImageNet weights (Apache-2.0), with a tuned copy of its last blocks",
    "text tower": "all-MiniLM-L6-v2 (Apache-2.0), stored in int8, with a trained linear map",
    "photographs": "under the terms named with each source; none is in the bundle",
    "words above known words": Path(__file__).with_name("wordnet_licence.txt").read_text(encoding="utf-8"),
    "checkpoint": "Apache-2.0",
}


def fit_everyday(config: EverydayConfig, directory: Path) -> Outcome:
    """Trains and fits all parts of a checkpoint; `directory/bundle` can be served.

    Raises DataError, VocabularyError, and BundleError.
    """
    return fit(config, directory, Start(*starting_point(config.backbone), minilm_tokenizer()))


def fit(config: EverydayConfig, directory: Path, start: Start) -> Outcome:
    """`fit_everyday` from any start. An interrupted run is resumed; a finished one is left unchanged."""
    bundle = directory / BUNDLE
    if bundle.exists():
        return _finished(config, directory, bundle)
    trained = train(config, directory, start)
    draft, measured, how = _fit_head(trained)
    threshold = default_threshold(draft)
    measured = measure(trained) | measured | measure_head(draft, threshold)
    unreadable = int((~trained.features.readable).sum())
    skipped = {"unreadable file": unreadable} if unreadable else {}
    model, backbone = towers(trained, draft.words)
    provenance = {
        "data": "densely labelled everyday photographs, captions, sets of classes",
        **trained.provenance,
        "new_words": how,
        "known_words": "weights and threshold from everyday's val photographs that were not searched for",
        "background": _counts(draft),
        "metrics": measured,
        "licences": _LICENCES,
    }
    assert draft.head.evidence is not None
    try:
        files = assemble(
            model,
            backbone,
            start.tokenizer,
            draft.head.evidence,
            draft.arrays,
            draft.background,
            trained.config.preprocessing,
            threshold,
            provenance,
        )
    except ValueError as error:
        raise BundleError(f"the bundle cannot be built: {error}") from error
    results = Results(
        task=config.task,
        measured=measured,
        skipped=skipped,
        configuration=config.model_dump(mode="json"),
    )
    # The bundle is written last, because its presence marks a finished run.
    write_results(directory, results)
    with saved_with_graphs(bundle) as made:
        write_files(made, files)
    return Outcome(measured, None, bundle, skipped)


def _fit_head(trained: Trained) -> tuple[Draft, dict[str, float], Mapping[str, Any] | str]:
    """The fitted head, the measures of left-out words, and a description of how new words are weighted."""
    draft = make_draft(trained)
    draft = draft.fitted(graph_arrays(draft), {})
    draft = draft.fitted({}, known_word_gains(draft))
    if trained.config.left_out is None:
        return draft, {}, "default weights: no words were left out of a training run"
    second, words = train_left_out(trained, trained.config.left_out)
    second_draft = make_draft(second)
    if not (second.directory / BUNDLE).exists():
        save_towers(second, second_draft.words, second.directory / BUNDLE)
    fitted = fit_left_out(second_draft, words)
    how = {
        "left_out": list(words),
        "steps": trained.config.left_out.steps,
        "chosen_on": "everyday's train and val photographs that were not searched for",
    }
    return draft.fitted(fitted.arrays, fitted.gains).with_threshold(fitted.threshold), fitted.measured, how


def _counts(draft: Draft) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in draft.background_rows:
        source = draft.trained.photographs[row].source
        counts[source] = counts.get(source, 0) + 1
    return counts


def _finished(config: EverydayConfig, directory: Path, bundle: Path) -> Outcome:
    results = read_results(directory)
    made = {name: value for name, value in results.configuration.items() if name not in _ELSEWHERE}
    if made != config.model_dump(mode="json", exclude=_ELSEWHERE):
        raise DataError(f"{directory} has a run with another configuration: name a new directory")
    return Outcome(results.measured, results.best_epoch, bundle, results.skipped)
