"""`python -m benchmarks.gpu`: SVFR's two steps and the ViT-B/16 tower on one CUDA card.

TFLOP/s count the method's operations, 4 * B * P * C * D² for both steps, without padding. Shares are of a
plain bfloat16 product of 8192³, measured in the same rounds, and of the GPU's data sheet.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import torch
import typer
from torch import Tensor

from benchmarks.cuda_measuring import (
    Action,
    bare_product,
    bare_tflops,
    measure,
    nominal_tflops,
    peak_megabytes,
)
from benchmarks.measuring import markdown_table
from sigrl.model import svfr
from sigrl.model.svfr import Steps, StreamedSteps

PATCHES, DIM = 196, 512
LABEL_COUNTS, BATCHES = (80, 256, 1006), (1, 8, 32)

SIZE_HEADER, MEMORY_HEADER = ["labels", "photographs"], ["fused, MiB", "eager, MiB"]
TIMES_HEADER = ["fused, ms", "torch.compile, ms", "eager, ms"]
RATES_HEADER = ["fused, TFLOP/s", "of a bare product", "of the data sheet"]
FORWARD_HEADER = [*SIZE_HEADER, *TIMES_HEADER, *RATES_HEADER, "relative error", *MEMORY_HEADER]
TRAINING_HEADER = [*SIZE_HEADER, "fused, ms", "eager, ms", *MEMORY_HEADER]


class CompiledSteps:
    """`StreamedSteps`, a chunk of labels compiled by torch.compile."""

    def __init__(self) -> None:
        self._chunk_functions = {
            name: torch.compile(getattr(svfr, name), dynamic=False) for name in ("_decouple", "_gate")
        }

    def decouple(self, patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
        with patch.multiple(svfr, **self._chunk_functions):
            return svfr.semantic_decoupling(patch_tokens, label_embeddings, weight)

    def gate(self, patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
        with patch.multiple(svfr, **self._chunk_functions):
            return svfr.label_gate(patch_tokens, label_queries, weight)


class SvfrCase:
    """Both steps on random inputs of one size."""

    def __init__(self, batch: int, label_count: int) -> None:
        self.flop = 4 * batch * PATCHES * label_count * DIM**2
        shapes = ((batch, PATCHES, DIM), (label_count, DIM), (batch, label_count, DIM), (DIM, DIM))
        tokens, labels, queries, weight = (torch.randn(shape, device="cuda") for shape in shapes)
        self.inputs = [tokens, labels, queries, weight * (4 / DIM**0.5)]

    def forward(self, steps: Steps, dtype: torch.dtype) -> Callable[[], tuple[Tensor, Tensor]]:
        tokens, labels, queries, weight = (tensor.to(dtype) for tensor in self.inputs)

        def run() -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                return steps.decouple(tokens, labels, weight), steps.gate(tokens, queries, weight)

        return run

    def forward_backward(self, steps: Steps, dtype: torch.dtype) -> Action:
        leaves = [tensor.to(dtype).requires_grad_() for tensor in self.inputs]
        tokens, labels, queries, weight = leaves

        def run() -> object:
            outputs = [steps.decouple(tokens, labels, weight), steps.gate(tokens, queries, weight)]
            return torch.autograd.grad(outputs, leaves, [torch.ones_like(output) for output in outputs])

        return run

    def error(self, steps: Steps) -> float:
        """The larger of the steps' relative errors, against the readable form in float32."""
        ours, exact = self.forward(steps, torch.float32)(), self.forward(StreamedSteps(), torch.float32)()
        return max(float((a - b).norm() / b.norm()) for a, b in zip(ours, exact, strict=True))


def svfr_tables(nominal: int | None) -> str:
    from sigrl.model.kernels.triton_steps import TritonSteps

    fused, bare = TritonSteps(), bare_product()
    forward_rows, training_rows = [], []
    for label_count in LABEL_COUNTS:
        for batch in BATCHES:
            torch._dynamo.reset()  # or it gives up compiling after some shapes
            case = SvfrCase(batch, label_count)
            forward = {
                "fused": case.forward(fused, torch.float32),
                "compiled": case.forward(CompiledSteps(), torch.bfloat16),
                "eager": case.forward(StreamedSteps(), torch.bfloat16),
            }
            seconds = measure(forward | {"bare": bare})
            tflops = case.flop / seconds["fused"] / 1e12
            ceiling = bare_tflops(seconds["bare"])
            size = [str(label_count), str(batch)]
            forward_rows.append(
                [
                    *size,
                    *(f"{1e3 * seconds[name]:.3g}" for name in forward),
                    f"{tflops:.0f}",
                    f"{100 * tflops / ceiling:.0f} % of {ceiling:.0f}",
                    f"{100 * tflops / nominal:.0f} % of {nominal}" if nominal else "unknown card",
                    f"{case.error(fused):.1e}",
                    *(peak_megabytes(forward[name]) for name in ("fused", "eager")),
                ]
            )
            print(*forward_rows[-1], file=sys.stderr)
            training = {
                "fused": case.forward_backward(fused, torch.float32),
                "eager": case.forward_backward(StreamedSteps(), torch.bfloat16),
            }
            seconds = measure(training)
            training_rows.append(
                [
                    *size,
                    *(f"{1e3 * seconds[name]:.3g}" for name in training),
                    *(peak_megabytes(action) for action in training.values()),
                ]
            )
    return (
        f"Both steps, forward:\n\n{markdown_table(FORWARD_HEADER, forward_rows)}\n\n"
        f"Both steps, forward and backward:\n\n{markdown_table(TRAINING_HEADER, training_rows)}"
    )


def main(
    out: Annotated[Path | None, typer.Option(help="Also write the tables to this file")] = None,
) -> None:
    """Measure SVFR's steps and the image tower on a GPU."""
    if not torch.cuda.is_available():
        print("This benchmark needs a CUDA GPU, but torch finds none.")
        raise typer.Exit(2)
    torch.manual_seed(0)
    card = torch.cuda.get_device_name()
    title = f"{card}, torch {torch.__version__}, {PATCHES} patches, {DIM} dimensions"
    report = f"{title}\n\n{svfr_tables(nominal_tflops(card))}\n"
    print(report)
    # The tower needs open_clip; if that is missing, the tables above have already been printed.
    from benchmarks.gpu_tower import tower_table

    tower = tower_table()
    print(tower)
    if out is not None:
        out.write_text(f"{report}\n{tower}\n")


if __name__ == "__main__":
    typer.run(main)
