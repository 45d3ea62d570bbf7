"""`python -m benchmarks.calibration BUNDLE COCO_FOLDER`: the effect of calibration on real photographs.

One half of `val2014` is used for measuring, the other only for choosing a global threshold and drawing
examples. There are two lists of labels: the 80 that the bundled checkpoint was trained with, and synonyms of
25 of them that it was not trained with.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.measuring import markdown_table
from sigrl.model.engine import Engine, LabelFeatures
from sigrl.model.kept_features import KeptFeatures, join
from sigrl.model.label_calibration import BestF1, FalsePositiveRate, Goal, TargetPrecision
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.coco import load_coco
from sigrl.training.measures.evaluation import encode_photographs
from sigrl.training.measures.metrics import expected_calibration_error, f1_of_decisions, f1_threshold

EXAMPLES = (50, 200, 1000)
PRECISION = 0.8
FALSE_POSITIVE_RATE = 0.01
LEAST_POSITIVES = 5
OTHER_WORDS = {
    "bicycle": "bike",
    "motorcycle": "motorbike",
    "airplane": "aeroplane",
    "train": "locomotive",
    "boat": "ship",
    "traffic light": "stoplight",
    "fire hydrant": "hydrant",
    "cat": "kitten",
    "dog": "puppy",
    "cow": "cattle",
    "handbag": "purse",
    "suitcase": "luggage",
    "frisbee": "flying disc",
    "skis": "skiing",
    "skateboard": "skateboarding",
    "surfboard": "surfing",
    "cup": "mug",
    "sandwich": "hamburger bun",
    "donut": "doughnut",
    "couch": "sofa",
    "potted plant": "houseplant",
    "dining table": "dinner table",
    "tv": "television",
    "cell phone": "mobile phone",
    "refrigerator": "fridge",
}

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]


def measured(probabilities: Array, thresholds: Array, holds: npt.NDArray[np.bool_]) -> list[str]:
    """Calibration errors in percent (over all pairs, mean over labels), F1 in percent (micro, macro),
    precision and false-positive rate of the labels' decisions in percent (means over labels)."""
    error = expected_calibration_error(probabilities, holds)
    decided = probabilities >= thresholds
    micro, macro = f1_of_decisions(decided, holds)
    with np.errstate(invalid="ignore"):
        precision = 100 * np.nanmean((decided & holds).sum(0) / decided.sum(0))
    wrong = 100 * np.mean((decided & ~holds).sum(0) / (~holds).sum(0))
    per_label = float(np.nanmean(error.per_label))
    numbers = [error.overall, per_label, micro, macro, float(precision)]
    return [f"{number:.1f}" for number in numbers] + [f"{wrong:.2f}"]


class Comparison:
    """One list of labels on both halves."""

    def __init__(
        self, engine: Engine, names: list[str], halves: list[KeptFeatures], shown: list[Labels]
    ) -> None:
        self.engine, self.halves = engine, halves
        self.features: LabelFeatures = engine.encode_labels(Vocabulary.from_names(names))
        self.counted = (shown[1] > 0).sum(0) >= LEAST_POSITIVES
        self.shown = shown
        self.logits = [engine.score_kept(half, self.features) for half in halves]

    def rows(self) -> list[list[str]]:
        """The table."""
        plain = 1 / (1 + np.exp(-self.logits[1].astype(np.float64)))
        chosen, _ = f1_threshold(1 / (1 + np.exp(-self.logits[0].astype(np.float64))), self.shown[0] > 0)
        manifest_threshold = self.engine.default_threshold
        table = [
            self._row(
                f"raw scores, one threshold for all: {manifest_threshold:g}, as shipped before",
                plain,
                manifest_threshold,
            ),
            self._row(f"… the best of the other half, labelled: {chosen:.2f}", plain, chosen),
            self._row("**background set, nothing labelled (default)**", *self._decisions(self.features)),
        ]
        rate = self.engine.thresholds_for(self.features, FalsePositiveRate(FALSE_POSITIVE_RATE))
        probabilities, _ = self._decisions(self.features)
        table.append(
            self._row(f"… thresholds for {FALSE_POSITIVE_RATE:.0%} false positives", probabilities, rate)
        )
        for count in EXAMPLES:
            table.append(
                self._row(f"… and {count} labelled photographs, best F1", *self._refined(count, BestF1()))
            )
        goal = TargetPrecision(PRECISION)
        table.append(
            self._row(f"… and {EXAMPLES[-1]}, precision {PRECISION:.0%}", *self._refined(EXAMPLES[-1], goal))
        )
        return table

    def _refined(self, count: int, goal: Goal) -> tuple[Array, Array]:
        order = np.random.default_rng(0).permutation(len(self.halves[0]))[:count]
        drawn = self.halves[0].take(order)
        return self._decisions(
            self.engine.calibrate_by_examples(self.features, drawn, self.shown[0][order], goal)
        )

    def _decisions(self, features: LabelFeatures) -> tuple[Array, Array]:
        return self.engine.probabilities(self.logits[1], features), self.engine.thresholds(features)

    def _row(
        self, name: str, probabilities: npt.NDArray[np.floating], thresholds: Array | float
    ) -> list[str]:
        every = np.broadcast_to(np.asarray(thresholds, np.float64), probabilities.shape[1:])
        kept = self.counted
        return [name, *measured(probabilities[:, kept], every[kept], self.shown[1][:, kept] > 0)]


def main(
    bundle: Annotated[Path, typer.Argument(help="With a background set")],
    folder: Annotated[Path, typer.Argument(help="Folder in COCO's layout, with val2014")],
) -> None:
    """Measure calibration errors and F1 with and without a calibration."""
    engine = TorchEngine.load(bundle, "cpu", precision="float32")
    split = load_coco(folder, "val2014")
    kept = join([engine.keep_images(batch) for batch in encode_photographs(engine, split.image_paths)])
    order = np.random.default_rng(0).permutation(len(kept))
    rows = order[: len(order) // 2], order[len(order) // 2 :]
    halves = [kept.take(half) for half in rows]
    shown = np.where(split.labels > 0, 1, -1).astype(np.int8)
    places = [split.label_names.index(name) for name in OTHER_WORDS]
    header = ["", "ECE, all", "ECE, per label", "micro F1", "macro F1", "precision", "false positives"]
    for title, names, columns in (
        ("labels trained with", list(split.label_names), list(range(len(split.label_names)))),
        ("other words for some of them", list(OTHER_WORDS.values()), places),
    ):
        compared = Comparison(engine, names, halves, [shown[half][:, columns] for half in rows])
        count = int(compared.counted.sum())
        print(
            f"\n{count} {title}, {len(rows[1])} photographs, %\n\n{markdown_table(header, compared.rows())}"
        )


if __name__ == "__main__":
    typer.run(main)
