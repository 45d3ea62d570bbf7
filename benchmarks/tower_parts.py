"""`python -m benchmarks.tower_parts`: a batch of the bundled image tower on OpenVINO, whole and in parts.

The whole batch runs on all threads together; of its parts, as many run at once as there are threads. Every
round gives each way its turn, alone and beside one busy process for each core. Takes about two minutes.
"""

import statistics
import time
from collections import defaultdict

import numpy as np

from benchmarks.beside import busy_processes
from benchmarks.measuring import markdown_table
from sigrl.model import openvino_streams
from sigrl.model.openvino_engine import OpenVinoEngine
from sigrl.model.openvino_streams import StreamedGraph
from sigrl.model.processors import available_processors

BATCH = 8
WHOLE = 0
PARTS = (WHOLE, 4, 2, 1)
"""Photographs of a part."""
ROUNDS = 25


def main() -> None:
    """Prints the table of docs/benchmarks.md."""
    engine = OpenVinoEngine.load()
    tower = engine._graphs["image_tower"]
    assert isinstance(tower, StreamedGraph)
    size = engine.preprocessing.image_size
    pixels = np.random.default_rng(0).standard_normal((BATCH, 3, size, size), np.float32)
    served = openvino_streams.PART
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for busy in (0, available_processors()):
        with busy_processes(busy):
            for number in range(ROUNDS + 1):
                for part in PARTS:
                    openvino_streams.PART = part
                    start = time.perf_counter()
                    if part == WHOLE:
                        tower._alone(pixel_values=pixels)
                    else:
                        tower(pixel_values=pixels)
                    if number:  # the first round warms up
                        found[part, busy].append(1000 * (time.perf_counter() - start) / BATCH)
    rows = []
    for part in PARTS:
        name = "the whole batch on all threads" if part == WHOLE else f"parts of {part}, a thread each"
        alone, beside = found[part, 0], found[part, available_processors()]
        numbers = (min(alone), statistics.median(alone), statistics.median(beside))
        mark = "**" if part == served else ""
        rows.append([f"{mark}{name}{mark}", *(f"{each:.1f}" for each in numbers)])
    header = [f"batch of {BATCH}: ms a photograph", "alone, fastest", "alone, median"]
    print(markdown_table([*header, "beside busy processes, median"], rows))


if __name__ == "__main__":
    main()
