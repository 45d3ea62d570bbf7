"""`python -m benchmarks.suggestions COCO_FOLDER`: suggested photographs against random ones.

The bundled checkpoint is calibrated for words that it was not trained with, by photographs of `val2014`, and
measured on others. Each row is a mean over draws of the candidates.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.calibration import LEAST_POSITIVES, OTHER_WORDS
from benchmarks.measuring import markdown_table
from sigrl.model.engine import LabelFeatures
from sigrl.model.kept_features import join
from sigrl.model.label_calibration import BestF1
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.suggesting import doubt, suggest
from sigrl.training.data.coco import load_coco
from sigrl.training.measures.metrics import f1_of_decisions

PHOTOGRAPHS, CANDIDATES, DRAWS = 1500, 600, 6
COUNTS = (20, 30, 40, 50)
_BATCH = 16


def main(folder: Annotated[Path, typer.Argument(help="Folder in COCO's layout, with val2014")]) -> None:
    """Measure what suggested photographs gain."""
    tagger = Tagger()
    engine = tagger.engine
    split = load_coco(folder, "val2014")
    used = np.random.default_rng(0).permutation(len(split.image_paths))[:PHOTOGRAPHS]
    files = [split.image_paths[row] for row in used]
    batches = [files[start : start + _BATCH] for start in range(0, len(files), _BATCH)]
    kept = join(
        [each for batch in batches for each in tagger.tower.keep_images([f.read_bytes() for f in batch])]
    )
    shown = split.labels[used][:, [split.label_names.index(name) for name in OTHER_WORDS]] > 0
    plain = engine.encode_labels(Vocabulary.from_names(list(OTHER_WORDS.values())))
    logits = engine.score_kept(kept, plain)
    found = engine.probabilities(logits, plain)
    embeddings = kept.image_embeddings.astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    doubts = np.array([doubt(row) for row in found])

    def measured(features: LabelFeatures, rows: npt.NDArray[np.integer]) -> float:
        decided = engine.probabilities(logits[rows], features) >= engine.thresholds(features)
        counted = shown[rows].sum(0) >= LEAST_POSITIVES
        return f1_of_decisions(decided[:, counted], shown[rows][:, counted])[1]

    def calibrated(rows: npt.NDArray[np.integer]) -> LabelFeatures:
        marks = np.where(shown[rows], 1, -1).astype(np.int8)
        return engine.calibrate_by_examples(plain, kept.take(rows), marks, BestF1())

    results: dict[int, list[tuple[float, float, float]]] = {count: [] for count in COUNTS}
    for draw in range(DRAWS):
        order = np.random.default_rng(100 + draw).permutation(PHOTOGRAPHS)
        candidates, others = order[:CANDIDATES], order[CANDIDATES:]
        for count in COUNTS:
            chosen = candidates[suggest(embeddings[candidates], doubts[candidates], count)]
            sets = (candidates[:count], chosen)
            results[count].append(
                (measured(plain, others), *(measured(calibrated(rows), others) for rows in sets))
            )
    table = [
        [
            str(count),
            *(
                f"{mean:.1f} ± {spread:.1f}"
                for mean, spread in zip(np.mean(rows, 0), np.std(rows, 0), strict=True)
            ),
        ]
        for count, rows in results.items()
    ]
    print(markdown_table(["photographs", "none labelled: macro F1", "random ones", "suggested ones"], table))


if __name__ == "__main__":
    typer.run(main)
