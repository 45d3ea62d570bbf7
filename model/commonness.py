"""How common a word is on everyday photographs: the prior of a model that nobody has calibrated.

A contrastive model scores how much more likely a photograph and a text are together than apart: its optimum
is log p(c | x) / p(c) plus a constant, for CLIP's loss and for SigLIP's (van den Oord et al. 2018; Zhai et
al. 2023). What is missing to p(c | x) is log p(c). It is read from the bundled checkpoint, whose evidence
head contains the mean probability of each word it knows on everyday photographs. Imports without torch.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from sigrl.model.bundle_files import MANIFEST, BundleError, bundled_path
from sigrl.model.calibration import OFFSET, LabelCalibration
from sigrl.model.label_facts import own_row, rows_of_names
from sigrl.model.manifest import WEIGHTS, read_manifest
from sigrl.model.vocabulary import Label

_RARE = 0.25
"""A word that is not among the known ones counts as common as the known word at this quantile."""


class Commonness(NamedTuple):
    """The words whose commonness is known."""

    rows: dict[str, int]
    """A name as `own_row` compares it -> its row."""
    log_odds: npt.NDArray[np.float32]
    """[K]: of the word on an everyday photograph, relative to those of the median word."""


@cache
def known_commonness() -> Commonness | None:
    """What the bundled checkpoint knows; None if it is not installed, or has no evidence head."""
    try:
        folder = bundled_path()
    except BundleError:
        return None
    manifest, _ = read_manifest((folder / MANIFEST).read_bytes())
    if manifest.head.evidence is None:
        return None
    with safe_open(folder / WEIGHTS, "numpy") as weights:
        shares = np.clip(weights.get_tensor("head.known_prior").astype(np.float32), 1e-6, 1 - 1e-6)
    log_odds = np.log(shares) - np.log1p(-shares)
    return Commonness(rows_of_names(manifest.head.evidence.known_words), log_odds - np.median(log_odds))


def by_commonness(labels: Sequence[Label], threshold: float, known: Commonness | None) -> LabelCalibration:
    """The calibration [C, 3] of a model's own logits by the commonness of the labels, with one threshold for
    all. The median word keeps its logits, and so does every word if nothing is known."""
    calibration = np.tile(np.array([0, 1, threshold], np.float32), (len(labels), 1))
    if known is not None:
        rare = np.quantile(known.log_odds, _RARE)
        rows = [own_row(label, known.rows) for label in labels]
        calibration[:, OFFSET] = [rare if row < 0 else known.log_odds[row] for row in rows]
    return calibration
