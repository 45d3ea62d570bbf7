"""`python -m benchmarks.roofline`: the least time that the bundled image tower can take on this machine.

A layer takes at least as long as its operations at the rate of a large matrix product, and at least as long
as its bytes at the rate of a copy within the last cache. Depthwise convolutions are computed in float32 even
where their numbers are stored in bfloat16, so the rate of float32 bounds them. Takes half a minute.
"""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import openvino
from openvino import opset13

from benchmarks.measuring import markdown_table
from sigrl.model.bundle_files import bundled_path
from sigrl.model.processors import available_processors

SIDE = 2048
"""Rows and columns of the matrices of the product."""
COPIED = {"last cache": 4 * 2**20, "memory": 256 * 2**20}
"""Bytes that each thread reads, and as many that it writes."""
TIMES = 15
KINDS = {
    "Convolution": "convolutions",
    "GroupConvolution": "depthwise convolutions",
    "MatMul": "products",
    "FullyConnected": "products",
}
"""The kind of a layer by the type of its node, in the graph and in the compiled model."""
OTHERS = "other nodes"
BYTES = {"bf16": 2, "f32": 4}


@dataclass(frozen=True)
class Layer:
    """One layer for one photograph."""

    kind: str
    operations: int
    """Multiplications and additions."""
    numbers: int
    """Numbers read and written: input, weights and output."""

    @classmethod
    def of(cls, node: Any) -> "Layer | None":
        """The layer of an OpenVINO node; None for other nodes, which cost little."""
        kind = KINDS.get(node.get_type_name())
        if kind is None:
            return None
        given, weights = (prod(node.get_input_shape(number)) for number in (0, 1))
        made = node.get_output_shape(0)
        # Each weight of an output channel is used once for each of the channel's numbers.
        channels = made[1] if len(made) == 4 else made[-1]
        return cls(kind, 2 * prod(made) * weights // channels, given + weights + prod(made))


def compiled(model: Any, precision: str, **more: Any) -> Any:
    """A request that runs a model as the service runs the tower."""
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": available_processors(),
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": precision,
        **more,
    }
    return openvino.Core().compile_model(model, "CPU", config).create_infer_request()


def fastest(function: Callable[[], object]) -> float:
    """Seconds of the fastest of several calls, because only that one had the machine to itself."""
    seconds = []
    for _ in range(TIMES):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def product_rate(precision: str) -> float:
    """Operations a second of a large matrix product."""
    given = opset13.parameter([SIDE, SIDE], np.float32)
    weights = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    model = openvino.Model([opset13.matmul(given, opset13.constant(weights), False, False)], [given])
    request = compiled(model, precision)
    return 2 * SIDE**3 / fastest(lambda: request.infer([weights], share_inputs=True))


def copy_rate(size: int) -> float:
    """Bytes a second, read and written, when every core copies `size` bytes again and again."""
    pairs = [(np.ones(size, np.uint8), np.ones(size, np.uint8)) for _ in range(available_processors())]
    times = max(1, 2**27 // size)

    def copy(pair: tuple[Any, Any]) -> None:
        for _ in range(times):
            np.copyto(*pair)

    with ThreadPoolExecutor(len(pairs)) as threads:
        seconds = fastest(lambda: list(threads.map(copy, pairs)))
    return 2 * size * times * len(pairs) / seconds


def measured(model: Any, precision: str) -> tuple[Counter[str], float]:
    """Milliseconds of all nodes of each kind in the fastest of several calls, and of a whole call. The nodes
    are timed in calls of their own, because timing them takes time."""
    shape = list(model.input(0).shape)
    pixels = np.random.default_rng(0).standard_normal(shape, np.float32)
    request = compiled(model, precision)
    whole = fastest(lambda: request.infer([pixels], share_inputs=True))
    request = compiled(model, precision, PERF_COUNT=True)
    calls = []
    for _ in range(TIMES):
        request.infer([pixels], share_inputs=True)
        nodes: Counter[str] = Counter()
        for node in request.profiling_info:
            nodes[KINDS.get(node.node_type, OTHERS)] += 1000 * node.real_time.total_seconds()
        calls.append(nodes)
    return min(calls, key=Counter.total), 1000 * whole


def main() -> None:
    """Prints the tables of docs/benchmarks.md."""
    rates = {precision: product_rate(precision) for precision in BYTES}
    copies = {name: copy_rate(size) for name, size in COPIED.items()}
    print(", ".join(f"{name}: {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items()), end="; ")
    print(", ".join(f"{name}: {rate / 1e9:.1f} GB/s" for name, rate in copies.items()) + "\n")
    model = openvino.Core().read_model(bundled_path() / "image_tower.onnx")
    model.reshape([1, *(each.get_length() for each in list(model.input(0).partial_shape)[1:])])
    layers = [layer for node in model.get_ops() if (layer := Layer.of(node)) is not None]
    rows = []
    for precision, width in BYTES.items():
        nodes, whole = measured(model, precision)
        total = 0.0
        for kind in dict.fromkeys(KINDS.values()):
            found = [layer for layer in layers if layer.kind == kind]
            rate = rates["f32" if kind == KINDS["GroupConvolution"] else precision]
            computing = [1000 * layer.operations / rate for layer in found]
            moving = [1000 * width * layer.numbers / copies["last cache"] for layer in found]
            least = sum(map(max, computing, moving))
            total += least
            operations = sum(layer.operations for layer in found) / 1e9
            size = sum(width * layer.numbers for layer in found) / 1e6
            numbers = (operations, size, sum(computing), sum(moving), least, nodes[kind])
            rows.append([f"{kind}, {precision}", str(len(found)), *(f"{each:.2f}" for each in numbers)])
        rows.append([f"{OTHERS}, {precision}", *[""] * 6, f"{nodes[OTHERS]:.2f}"])
        rows.append([f"**tower, {precision}**", *[""] * 5, f"**{total:.2f}**", f"**{whole:.2f}**"])
    header = [
        "one photograph",
        "layers",
        "GFLOP",
        "MB",
        "ms to compute",
        "ms to move",
        "at least ms",
        "took ms",
    ]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
