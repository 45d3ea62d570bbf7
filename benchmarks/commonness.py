"""`python -m benchmarks.commonness`: what words' commonness adds to the logits of an uncalibrated model.

The model is the bundled checkpoint's towers with a head that needs no training, on everyday photographs with
dense labels. `clip` compares embeddings alone; the logits of `mkt` were trained to be probabilities.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.metrics import average_precision_score

from benchmarks.everyday.labelled import read
from benchmarks.measuring import markdown_table
from sigrl.model.bundle_files import bundled_path, write_files
from sigrl.model.calibration import OFFSET, calibration_error, sigmoid
from sigrl.model.commonness import by_commonness, known_commonness
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.bundles.replace_head import UntrainedHead, replace_head
from sigrl.training.measures.evaluation import encode_photographs

_DATA = Path(__file__).parents[2] / "shared" / "data" / "everyday"


def main() -> None:
    """Print the average precision over all pairs of a photograph and a name, and the calibration error."""
    photographs = read(_DATA)
    judged = photographs.take(np.flatnonzero(photographs.splits == "val"))
    vocabulary = Vocabulary.from_names(judged.names)
    known = judged.labels != 0
    rows = []
    for kind in (UntrainedHead.clip, UntrainedHead.mkt):
        with TemporaryDirectory() as folder:
            write_files(Path(folder, "bundle"), replace_head(bundled_path(), kind))
            engine = TorchEngine.load(Path(folder, "bundle"))
        labels = engine.encode_labels(vocabulary)
        batches = encode_photographs(engine, judged.paths)
        logits = np.concatenate([engine.score(batch, labels) for batch in batches])
        prior = by_commonness(vocabulary.labels, engine.default_threshold, known_commonness())[:, OFFSET]
        for name, shifted in (("alone", logits), ("with commonness", logits + prior)):
            found = sigmoid(shifted)
            precision = average_precision_score(judged.labels[known] > 0, found[known])
            error = calibration_error(found, judged.labels)
            rows.append((f"{kind}, {name}", f"{100 * precision:.1f}", f"{100 * error:.2f}"))
    print(f"{len(judged)} photographs, {len(judged.names)} names, in percent")
    print(markdown_table(("head", "average precision over all pairs", "calibration error"), rows))


if __name__ == "__main__":
    main()
