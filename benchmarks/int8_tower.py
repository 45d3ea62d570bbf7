"""`python -m benchmarks.int8_tower BUNDLE INT8_BUNDLE`: the image tower in int8 on each engine.

The second bundle is the first one, exported with `--int8`; both have graphs. Every engine has its turn in
every round.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.measuring import interleaved, markdown_table
from sigrl.model.engine import Engine
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.openvino_engine import OpenVinoEngine

BATCH = 8
REFERENCE = "OpenVINO, auto"


def main(
    bundle: Annotated[Path, typer.Argument(help="Bundle with graphs")],
    int8: Annotated[Path, typer.Argument(help="The same, exported with --int8")],
    rounds: Annotated[int, typer.Option(help="How often every engine has its turn")] = 9,
) -> None:
    """Print photographs a second of the image tower in float and in int8."""
    engines: dict[str, Engine] = {
        "OpenVINO, float32": OpenVinoEngine.load(bundle, precision="float32"),
        REFERENCE: OpenVinoEngine.load(bundle),
        "OpenVINO, int8": OpenVinoEngine.load(int8),
        "ONNX Runtime, float32": OnnxEngine.load(bundle, "cpu"),
        "ONNX Runtime, int8": OnnxEngine.load(int8, "cpu"),
    }
    size = engines[REFERENCE].preprocessing.image_size
    pixels = np.random.default_rng(0).standard_normal((BATCH, 3, size, size), np.float32)
    seconds = interleaved(
        {name: lambda engine=engine: engine.encode_images(pixels) for name, engine in engines.items()}, rounds
    )
    rows = [
        [name, f"{BATCH / each:.1f}", f"{seconds[REFERENCE] / each:.2f}"] for name, each in seconds.items()
    ]
    print(markdown_table([f"image tower, batch of {BATCH}", "photographs/s", f"of {REFERENCE}"], rows))


if __name__ == "__main__":
    typer.run(main)
