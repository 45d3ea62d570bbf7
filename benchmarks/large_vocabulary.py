"""`python -m benchmarks.large_vocabulary COCO_FOLDER LABEL_LIST`: thousands of labels in the published form.

SVFR's cost grows with the number of labels. Here it runs over a subset, whose result is used for all labels,
and is compared with the exact result on real photographs: over evenly spaced labels, as `svfr_labels` does,
and over those with the best scores without SVFR. The weights are the bundled checkpoint's.
"""

import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.measuring import markdown_table, peak_extra_mebibytes
from sigrl.model.acceleration import accelerate
from sigrl.model.bundle import TaggingModel, load_bundle
from sigrl.model.bundle_files import bundled_path
from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.heads import MktHead, SigRLHead
from sigrl.model.matching import unit_rms
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.coco import load_coco
from sigrl.training.terminal import progress_bar

Row = tuple[int, str]
"""Number of labels, and `spaced` or `best`."""
SIZES = (64, 256, 1024, 4096)
BEST = (5, 20)


def load_model(compiled: bool) -> tuple[TaggingModel, SigRLHead]:
    """The bundled checkpoint's model and its head in the published form."""
    bundle = load_bundle(bundled_path())
    config = HeadConfig(form="published", top_k=bundle.manifest.head.top_k)
    model = TaggingModel(bundle.manifest.backbone, config, bundle.tokenizer)
    model.backbone.load_state_dict(bundle.model.backbone.state_dict())
    head = model.head
    assert isinstance(head, SigRLHead)
    head.load_state_dict({name: bundle.model.head.state_dict()[name] for name in head.state_dict()})
    accelerate(
        model, bundle.manifest.preprocessing.image_size, torch.device("cpu"), "float32", compiled=compiled
    )
    return model.requires_grad_(False), head


def agreement(ours: Tensor, exact: Tensor, k: int) -> float:
    """Share of the `k` best labels [C] that are among the exact `k` best, percent."""
    return 100 * len(set(ours.topk(k).indices.tolist()) & set(exact.topk(k).indices.tolist())) / k


def read_names(path: Path, most: int) -> list[str]:
    """The last column of a CSV file or the lines of a text file, without duplicates."""
    with path.open(encoding="utf-8", newline="") as file:
        names = (" ".join(row[-1].split()) for row in csv.reader(file) if row)
        return list({name.casefold(): name for name in names}.values())[:most]


def compare(head: SigRLHead, image: ImageFeatures, labels: LabelFeatures) -> dict[Row, list[float]]:
    """Agreement for each of `BEST`, by the number of labels and how they are chosen."""
    head.svfr_labels = None
    exact, plain = head.score(image, labels)[0], MktHead(head.config).score(image, labels)[0]
    found: dict[Row, list[float]] = {(0, "spaced"): [agreement(plain, exact, k) for k in BEST]}
    for size in SIZES:
        head.svfr_labels = None
        rows = plain.topk(size).indices
        some = LabelFeatures(labels.label_embeddings[rows], labels.refined[rows])
        rebuilt = replace(image, rebuilt_tokens=head.reconstruct(image, some))
        best = head.score(rebuilt, labels)[0]
        head.svfr_labels = size
        spaced = head.score(image, labels)[0]
        found[size, "spaced"] = [agreement(spaced, exact, k) for k in BEST]
        found[size, "best"] = [agreement(best, exact, k) for k in BEST]
    return found


def main(
    folder: Annotated[Path, typer.Argument(help="In COCO's layout, with val2014")],
    label_list: Annotated[Path, typer.Argument(help="CSV or text, one label per line, as Open Images'")],
    photographs: Annotated[int, typer.Option(help="Number of photographs; each takes seconds")] = 24,
    labels: Annotated[int, typer.Option(help="How many of the list")] = 10_000,
    compiled: Annotated[bool, typer.Option(help="With torch.compile")] = True,
) -> None:
    """Compare SVFR over some labels with SVFR over all."""
    torch.set_grad_enabled(False)
    model, head = load_model(compiled)
    preprocessing = load_bundle(bundled_path()).manifest.preprocessing
    paths = load_coco(folder, "val2014").image_paths[:photographs]
    vocabulary = Vocabulary.from_names(read_names(label_list, labels))
    found: dict[Row, list[list[float]]] = {}
    with progress_bar() as progress:
        task = progress.add_task("labels", total=len(vocabulary.labels), note="")
        embeddings = unit_rms(
            model.backbone.encode_labels(
                vocabulary.labels, lambda done: progress.update(task, completed=done)
            )
        )
        head.label_features(embeddings)  # compiles: for one block of rows, and for several
        start = time.perf_counter()
        memory = peak_extra_mebibytes(lambda: head.label_features(embeddings))
        seconds = time.perf_counter() - start
        label_features = head.label_features(embeddings)
        task = progress.add_task("photographs", total=len(paths), note="")
        for path in paths:
            pixels = torch.from_numpy(read_photograph(path, preprocessing))[None]
            features = model.backbone.encode_images(pixels.contiguous(memory_format=torch.channels_last))
            image = ImageFeatures(
                unit_rms(features.image_embeddings), unit_rms(features.patch_tokens), features.grid
            )
            for row, values in compare(head, image, label_features).items():
                found.setdefault(row, []).append(values)
            progress.advance(task)
    header = [f"number of the {len(embeddings):,} labels that SVFR runs over"]
    header += [f"{how}: top-{k}" for how in ("evenly spaced", "best without SVFR") for k in BEST]
    rows = [
        [f"{size:,}" if size else "none (the mkt head)"]
        + [
            f"{mean:.1f} %"
            for how in ("spaced", "best")
            if (size, how) in found
            for mean in np.mean(found[size, how], axis=0)
        ]
        for size in (0, *SIZES)
    ]
    rows[0] += [""] * len(BEST)
    print(f"{len(paths)} photographs\n\n{markdown_table(header, rows)}\n")
    print(f"GMC over {len(embeddings):,} labels: {seconds:.1f} s, {memory:.0f} MiB")


if __name__ == "__main__":
    typer.run(main)
