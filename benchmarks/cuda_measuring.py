"""Shared by benchmarks on CUDA GPUs: times including synchronisation, memory, and peak rates."""

import math
import time
from collections.abc import Callable

import torch

from benchmarks.measuring import interleaved

Action = Callable[[], object]

PRODUCT_SIZE = 8192
ROUNDS = 5
ROUND_SECONDS = 0.02
"""Functions faster than this run several times per round; a single launch would measure the CPU."""

NOMINAL_TFLOPS = {
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "H200": 989,
    "B200": 2250,
    "A100": 312,
    "A10": 125,
    "L40S": 362,
    "L4": 121,
    "RTX 4090": 165,
}
"""Dense bfloat16 TFLOP/s from data sheets, by a part of the GPU's name."""


def measure(actions: dict[str, Action]) -> dict[str, float]:
    """Median seconds of each function, including synchronisation, over interleaved rounds."""
    times = {name: _times_a_round(action) for name, action in actions.items()}

    def repeated(name: str) -> Action:
        def run() -> None:
            for _ in range(times[name]):
                actions[name]()
            torch.cuda.synchronize()

        return run

    seconds = interleaved({name: repeated(name) for name in actions}, ROUNDS)
    return {name: seconds[name] / times[name] for name in actions}


def _times_a_round(action: Action) -> int:
    action()  # compiles
    torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    torch.cuda.synchronize()
    return max(1, math.ceil(ROUND_SECONDS / (time.perf_counter() - start)))


def peak_megabytes(action: Action) -> str:
    """Peak memory of one run in MiB beyond what was allocated before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    action()
    torch.cuda.synchronize()
    return f"{(torch.cuda.max_memory_allocated() - before) / 2**20:,.0f}"


def bare_product() -> Action:
    """The matrix product whose rate counts as the GPU's peak; see `bare_tflops`."""
    left, right = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE, device="cuda").bfloat16()
    return lambda: left @ right


def bare_tflops(seconds: float) -> float:
    """TFLOP/s of a `bare_product` that took this many seconds."""
    return 2 * PRODUCT_SIZE**3 / seconds / 1e12


def nominal_tflops(card: str) -> int | None:
    """The GPU's rate by the longest matching name: an L40S is not an L4."""
    known = [name for name in NOMINAL_TFLOPS if name in card]
    return NOMINAL_TFLOPS[max(known, key=len)] if known else None
