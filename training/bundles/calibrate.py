"""`sigrl-train calibrate`: adds a background set to a bundle, so that any label can be calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sigrl.model.background import Background, make_background, save_background
from sigrl.model.bundle_files import BundleFiles, make_files, read_files
from sigrl.model.calibration import CalibrationConfig
from sigrl.model.kept_features import KeptFeatures, join
from sigrl.model.manifest import CALIBRATION, Description
from sigrl.model.photograph_files import photographs_below
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.bundles.new_words import (
    LeftOut,
    NewWords,
    expected_new_words,
    fit_new_words,
    leave_labels_out,
)
from sigrl.training.bundles.provenance import commit
from sigrl.training.data.class_folders import refuse_folder
from sigrl.training.data.coco import read_coco_files
from sigrl.training.data.common_names import common_names
from sigrl.training.data.dataset import DataError, LabelledPhotographs
from sigrl.training.data.folder import read_folder
from sigrl.training.measures.evaluation import encode_photographs

BACKGROUND_PHOTOGRAPHS = 400
LABELLED_PHOTOGRAPHS = 1200
"""Drawn at random from the photographs; the first of them are the background set."""
LEAST_PHOTOGRAPHS = 20
LEAST_POSITIVES = 5
"""Photographs that a label must apply to in order to count."""
LEAST_NEW_LABELS = 10
"""With at least this many labels that the checkpoint was not trained on, only those are used for the fit."""
COMMON_NAMES = 200
EVEN_THRESHOLD = 0.3
"""Default threshold of a checkpoint whose own logits were not probabilities."""
_SEED = 0


@dataclass(frozen=True)
class Calibrated:
    """A bundle ready to be written, and how it was calibrated."""

    files: BundleFiles
    new_words: NewWords
    trained_labels: tuple[str, ...]
    """Labels whose logits are kept as they are."""
    left_out: LeftOut | None
    """None if no label counted."""


def find_photographs(folder: Path, annotation: Path | None) -> LabelledPhotographs:
    """All photographs below `folder`; with an annotation, those that it names, with their labels.

    An annotation is a .json in COCO's format (instances), or a .csv or .jsonl of
    `sigrl.model.labelled_files`. Raises DataError for anything else, and if there are too few photographs.
    """
    if annotation is None:
        paths = tuple(sorted(photographs_below(folder, refuse_folder)))
        found = LabelledPhotographs(paths, (), np.zeros((len(paths), 0), np.int8))
    elif annotation.suffix.lower() == ".json":
        found = read_coco_files(annotation, folder)
    else:
        found = read_folder(folder, annotation)
    if len(found) < LEAST_PHOTOGRAPHS:
        raise DataError(
            f"{folder} has {len(found)} photographs: name a folder with at least {LEAST_PHOTOGRAPHS}, better "
            f"{BACKGROUND_PHOTOGRAPHS}, photographs of everyday scenes"
        )
    return found


def calibrate(path: Path, photographs: LabelledPhotographs, source: str) -> Calibrated:
    """The bundle in directory `path` with a background set drawn from `photographs`; `source` names their
    origin. Raises BundleError and DataError."""
    files = read_files(path)
    description: Description = files.manifest
    if not description.head.independent_scores:
        raise DataError(
            f"{path} has its head in the published form, whose scores depend on the other labels asked for: "
            "only bundles in the context form can be calibrated"
        )
    order = np.random.RandomState(_SEED).permutation(len(photographs))
    drawn = photographs.select(
        order[: LABELLED_PHOTOGRAPHS if photographs.label_names else BACKGROUND_PHOTOGRAPHS]
    )
    counted = (drawn.labels == 1).sum(axis=0) >= LEAST_POSITIVES
    names = tuple(np.array(drawn.label_names)[counted].tolist())
    # In float32, so that every machine computes the same numbers.
    engine = TorchEngine.load(path, precision="float32")
    photographs_kept, scores = _run(engine, drawn.image_paths, (*names, *common_names(COMMON_NAMES, names)))
    first = scores[:BACKGROUND_PHOTOGRAPHS]
    expected = expected_new_words(first[:, len(names) :])
    own, background, labels = scores[:, : len(names)], first[:, : len(names)], drawn.labels[:, counted]
    context = description.head.trained_labels
    new = np.array([name not in context for name in names], bool)
    used = new if new.sum() >= LEAST_NEW_LABELS else np.ones(len(names), bool)
    fitted, left_out = expected, None
    if names:
        fitted = fit_new_words(own[:, used], labels[:, used], background[:, used], expected)
        left_out = leave_labels_out(own[:, used], labels[:, used], background[:, used], expected)
    trained = context
    if not context and left_out is not None and left_out.as_they_come <= left_out.as_new_words:
        trained = names
    keeps = bool(trained) or description.head.kind == "evidence"
    kept = make_background(photographs_kept, _text_features(engine, trained))
    changes = {
        "calibration": CalibrationConfig(
            photographs=len(photographs_kept), offset=fitted.offset, slope=fitted.slope
        ),
        "default_threshold": description.default_threshold if keeps else EVEN_THRESHOLD,
        "provenance": description.provenance
        | {"calibration": _provenance(source, kept, len(drawn), names, left_out)},
    }
    contents = {**files.contents, CALIBRATION: save_background(kept)}
    made = make_files(description.model_copy(update=changes), contents)
    return Calibrated(made, fitted, trained, left_out)


Array = npt.NDArray[np.float32]


def _run(engine: TorchEngine, paths: Sequence[Path], names: Sequence[str]) -> tuple[KeptFeatures, Array]:
    """The background set's features, and the scores [M, C] of all photographs."""
    labels = engine.encode_labels(Vocabulary.from_names(names))
    kept: list[KeptFeatures] = []
    scores: list[Array] = []
    for batch in encode_photographs(engine, paths):
        scores.append(engine.score(batch, labels))
        if sum(map(len, kept)) < BACKGROUND_PHOTOGRAPHS:
            kept.append(engine.keep_images(batch))
    return join(kept).take(slice(BACKGROUND_PHOTOGRAPHS)), np.concatenate(scores)


def _text_features(engine: TorchEngine, names: Sequence[str]) -> Array:
    """Label embeddings [K, D]."""
    if not names:
        return np.zeros((0, engine.manifest.backbone.embed_dim), np.float32)
    features: Array = engine.encode_labels(Vocabulary.from_names(names)).label_embeddings.cpu().numpy()
    return features


def _provenance(
    source: str, kept: Background, photographs: int, names: Sequence[str], left_out: LeftOut | None
) -> dict[str, object]:
    return {
        "background": f"features of {len(kept.photographs)} photographs of {source}: image embeddings "
        "in float16, patch tokens in int8; no photograph can be made of them",
        "labels": f"{len(names)} labels on {photographs} photographs" if names else "none",
        "error_of_labels_left_out": None if left_out is None else left_out._asdict(),
        "command": "sigrl-train calibrate",
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
