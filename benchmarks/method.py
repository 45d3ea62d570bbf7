"""`python -m benchmarks.method`: the method's speed on this machine, as ratios of interleaved runs.

Three tables: the image tower; the head in its published form, compared with a computation structured like the
published code; tagging from photograph to logits in the context form. Progress goes to stderr, the tables to
stdout.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import torch
import typer

from benchmarks import published_form
from benchmarks.measuring import Function, interleaved, markdown_table, peak_extra_mebibytes
from benchmarks.outside import outside_towers
from benchmarks.subjects import (
    EMBED_DIM,
    TOWER_FLOP,
    bare_product,
    bundled_subject,
    encode_images,
    head_inputs,
    vit_model,
    vit_subject,
)
from sigrl.model.acceleration import PrecisionChoice, accelerate
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import SigRLHead

BATCH = 8
LABEL_COUNTS = (20, 80, 256, 1006, 4585, 10000)
PUBLISHED_LABEL_COUNTS = (20, 81, 256, 1006)
"""81, not 80: NUS-WIDE's number of labels, for which the published code's cost is also known elsewhere."""
PATHS: dict[str, tuple[PrecisionChoice, bool]] = {
    "float32": ("float32", False),
    "bfloat16": ("bfloat16", False),
    "int8": ("int8", False),
    "bfloat16, compiled": ("bfloat16", True),
    "int8, compiled": ("int8", True),
}
Key = TypeVar("Key")
CPU = torch.device("cpu")
Part = Literal["all", "tower", "head", "tagging"]
BARE, TOWER, PUBLISHED = "bare product", "image tower", "published shape, float32"


def tower_table(rounds: int, scratch: Path) -> str:
    """ViT-B/16 on a batch of photographs: every engine compared with a plain matrix product."""
    model = vit_model("context")
    pixels = torch.randn(BATCH, 3, 224, 224)
    towers = {"torch, float32": encode_images(model, pixels), **outside_towers(model, pixels, scratch)}
    rounded = vit_model("context")
    rounded.backbone.bfloat16()
    towers["torch, bfloat16"] = encode_images(rounded, pixels.bfloat16())
    # In torch 2.13, products with parameters that need no gradient are seven times slower.
    rounded.requires_grad_(True)
    towers["torch, bfloat16, torch.compile"] = torch.compile(towers["torch, bfloat16"], dynamic=True)
    for name in ("int8", "int8, compiled"):
        quantized, (precision, compiled) = vit_model("context"), PATHS[name]
        accelerate(quantized, 224, CPU, precision, compiled=compiled)
        towers[f"torch, {name}"] = encode_images(quantized, pixels.bfloat16())
    bare, flop = bare_product()
    seconds = _measure("image tower", {BARE: bare, **towers}, rounds)
    rows = [
        [
            name,
            f"{BATCH / seconds[name]:.2f}",
            f"{100 * BATCH * TOWER_FLOP / seconds[name] * seconds[BARE] / flop:.0f} %",
            f"{peak_extra_mebibytes(tower):.0f}",
        ]
        for name, tower in towers.items()
    ]
    return markdown_table(
        [f"ViT-B/16, {BATCH} photographs", "img/s", "of the bare product's rate", "peak memory, MiB"], rows
    )


def head_table(rounds: int) -> str:
    """The head in its published form on one photograph's features, with GMC per photograph or cached."""
    heads = {name: _head(*path) for name, path in PATHS.items()}
    tower_model = vit_model("context")
    tower_model.backbone.bfloat16()
    tower = encode_images(tower_model, torch.randn(1, 3, 224, 224).bfloat16())
    bare, flop = bare_product()
    rows = []
    for count in PUBLISHED_LABEL_COUNTS:
        images, labels = head_inputs(count)
        functions = {PUBLISHED: lambda i=images, n=labels: published_form.score(heads["float32"], i, n)}
        for name, head in heads.items():
            functions |= _with_and_without_graph(name, head, images, labels)
        seconds = _measure(f"head, {count} labels", {BARE: bare, TOWER: tower, **functions}, rounds)
        work = 4 * images.patch_tokens.shape[1] * count * EMBED_DIM**2
        for name in (PUBLISHED, *heads):
            cached = seconds.get(f"{name}, graph cached", seconds[name])
            rows.append(
                [
                    f"{count} labels, {name}",
                    f"{1e3 * seconds[name]:.0f}",
                    f"{seconds[PUBLISHED] / seconds[name]:.1f}",
                    f"{seconds[PUBLISHED] / cached:.1f}",
                    f"{cached / seconds[TOWER]:.2f}",
                    f"{100 * work / cached * seconds[BARE] / flop:.0f} %",
                    f"{peak_extra_mebibytes(functions[name]):.0f}",
                ]
            )
    header = [
        "head in the published form, 196 patches, D = 512",
        "ms",
        "times published",
        "times published, graph cached",
        "of the tower's time",
        "of the bare product's rate",
        "peak memory, MiB",
    ]
    return markdown_table(header, rows)


def tagging_table(rounds: int, scratch: Path) -> str:
    """From photographs to logits in the context form, as a service does for every photograph."""
    rows = []
    for subject in (vit_subject(PATHS, scratch), bundled_subject(PATHS, scratch)):
        functions = {
            (name, count): subject.tagging(name, count, BATCH)
            for count in LABEL_COUNTS
            for name in subject.engines
        }
        seconds = _measure(f"tagging, {subject.name}", functions, rounds)
        rows += [
            [
                f"{subject.name}, {count} labels, {name}",
                f"{BATCH / seconds[name, count]:.1f}",
                f"{seconds[name, count] / seconds[name, 256]:.2f}",
                f"{peak_extra_mebibytes(function):.0f}",
            ]
            for (name, count), function in functions.items()
        ]
    header = [f"tagging, {BATCH} photographs", "img/s", "time against 256 labels", "peak memory, MiB"]
    return markdown_table(header, rows)


def _head(precision: PrecisionChoice, compiled: bool) -> SigRLHead:
    model = vit_model("published")
    accelerate(model, 224, CPU, precision, compiled=compiled)
    head = model.head
    assert isinstance(head, SigRLHead)
    return head


def _with_and_without_graph(
    name: str, head: SigRLHead, images: ImageFeatures, labels: torch.Tensor
) -> dict[str, Function]:
    features = head.label_features(labels)
    return {
        name: lambda: head.score(images, head.label_features(labels)),
        f"{name}, graph cached": lambda: head.score(images, features),
    }


def _measure(what: str, functions: dict[Key, Function], rounds: int) -> dict[Key, float]:
    print(f"{what} ...", file=sys.stderr, flush=True)
    return interleaved(functions, rounds)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each function; the median is reported")] = 5,
    part: Annotated[Part, typer.Option(help="One table only")] = "all",
) -> None:
    """Measure the method on this machine's CPU."""
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as scratch:
        tables = {
            "tower": lambda: tower_table(rounds, Path(scratch)),
            "head": lambda: head_table(rounds),
            "tagging": lambda: tagging_table(rounds, Path(scratch)),
        }
        for name, table in tables.items():
            if part in (name, "all"):
                print(f"\n{table()}", flush=True)
    machine = torch.cpu.get_capabilities()["cpu_name"]
    print(f"\n{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    typer.run(main)
