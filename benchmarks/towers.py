"""`python -m benchmarks.towers BUNDLE...`: the time of each image tower, as a multiple of the first one's.

The bundles have graphs (`sigrl-train export` adds them), and every tower has its turn in every round.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.measuring import interleaved, markdown_table
from sigrl.model.openvino_engine import OpenVinoEngine

BATCH = 8


def main(
    bundles: Annotated[list[Path], typer.Argument(help="Folders of bundles with graphs")],
    rounds: Annotated[int, typer.Option(help="How often every tower has its turn")] = 25,
) -> None:
    """Print milliseconds a photograph, on OpenVINO in the processor's fastest type."""
    random = np.random.default_rng(0)
    functions = {}
    for bundle in bundles:
        engine = OpenVinoEngine.load(bundle)
        size = engine.preprocessing.image_size
        pixels = random.standard_normal((BATCH, 3, size, size), np.float32)
        functions[f"{bundle}, {size} px"] = lambda engine=engine, pixels=pixels: engine.encode_images(pixels)
    seconds = interleaved(functions, rounds)
    first = next(iter(seconds.values()))
    rows = [[name, f"{1000 * each / BATCH:.1f}", f"{each / first:.2f}"] for name, each in seconds.items()]
    print(markdown_table([f"image tower, batch of {BATCH}", "ms a photograph", "of the first"], rows))


if __name__ == "__main__":
    typer.run(main)
