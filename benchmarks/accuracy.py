"""`python -m benchmarks.accuracy COCO_FOLDER`: how the fast paths change scores on real photographs.

Every path tags the same photographs of `val2014` with the folder's labels and is compared with float32.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.measuring import markdown_table
from sigrl.model.engine import Engine, LabelFeatures
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.openvino_engine import OpenVinoEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.coco import load_coco
from sigrl.training.measures.metrics import average_precision
from sigrl.training.terminal import progress_bar

BATCH = 8
MINIMUM_POSITIVES = 10


def engines(checkpoint: Path | None, onnx: Path | None, int8: Path | None) -> dict[str, Engine]:
    """The first row is the reference."""
    paths: dict[str, Engine] = {}
    for precision in ("float32", "bfloat16", "int8"):
        for compiled in (False, True):
            name = f"{precision}, {'compiled' if compiled else 'eager'}"
            paths[name] = TorchEngine.load(checkpoint, "cpu", precision=precision, compiled=compiled)
    if onnx is not None:
        paths["ONNX Runtime, float32"] = OnnxEngine.load(onnx, "cpu")
        for precision in ("float32", "bfloat16"):
            paths[f"OpenVINO, {precision}"] = OpenVinoEngine.load(onnx, precision=precision)
    if int8 is not None:
        paths["OpenVINO, int8"] = OpenVinoEngine.load(int8)
    return paths


def main(
    folder: Annotated[Path, typer.Argument(help="In COCO's layout, with val2014")],
    photographs: Annotated[int, typer.Option(help="How many; the first of the list")] = 2000,
    checkpoint: Annotated[Path | None, typer.Option(help="Bundle; the bundled one by default")] = None,
    onnx: Annotated[Path | None, typer.Option(help="The same bundle, exported")] = None,
    int8: Annotated[Path | None, typer.Option(help="The same bundle, exported with --int8")] = None,
) -> None:
    """Compare the fast paths with float32 on real photographs."""
    split = load_coco(folder, "val2014")
    paths = split.image_paths[:photographs]
    targets = split.labels[: len(paths)]
    counted = targets.sum(0) >= MINIMUM_POSITIVES
    compared = engines(checkpoint, onnx, int8)
    vocabulary = Vocabulary.from_names(split.label_names)
    labels = {name: engine.encode_labels(vocabulary) for name, engine in compared.items()}
    logits: dict[str, list[np.ndarray]] = {name: [] for name in compared}
    with progress_bar() as progress:
        task = progress.add_task("photographs", total=len(paths), note="")
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            preprocessing = next(iter(compared.values())).preprocessing
            pixel_values = np.stack([read_photograph(path, preprocessing) for path in batch])
            for name, engine in compared.items():
                logits[name].append(engine.score(engine.encode_images(pixel_values), labels[name]))
            progress.update(task, advance=len(batch))
    scores = {name: np.concatenate(batches) for name, batches in logits.items()}
    header = ["path", "largest shift of a logit", "of a probability", "mAP", "top-5 unchanged", "decisions"]
    reference, *_ = scores
    rows = [
        [
            name,
            *_row(
                compared[name], labels[name], scores[reference], scores[name], targets[:, counted], counted
            ),
        ]
        for name in scores
    ]
    title = f"{len(paths)} photographs, {len(split.label_names)} labels, mAP over {counted.sum()}"
    print(f"{title}\n\n{markdown_table(header, rows)}")


def _row(
    engine: Engine,
    labels: LabelFeatures,
    reference: np.ndarray,
    ours: np.ndarray,
    targets: np.ndarray,
    counted: np.ndarray,
) -> list[str]:
    # Both use this engine's calibration, because the scores are what is compared.
    probabilities, expected = engine.probabilities(ours, labels), engine.probabilities(reference, labels)
    best, expected_best = (
        np.sort(np.argsort(-scores, axis=1)[:, :5], axis=1) for scores in (ours, reference)
    )
    decided, expected_decided = (values >= engine.thresholds(labels) for values in (probabilities, expected))
    return [
        f"{np.abs(ours - reference).max():.2g}",
        f"{np.abs(probabilities - expected).max():.2g}",
        f"{average_precision(ours[:, counted], targets).mean():.2f}",
        f"{100 * (best == expected_best).all(1).mean():.1f} %",
        f"{100 * (decided == expected_decided).mean():.2f} %",
    ]


if __name__ == "__main__":
    typer.run(main)
