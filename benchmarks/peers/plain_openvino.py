"""A plain FastAPI endpoint that runs a bundle's image tower on OpenVINO, as a user who exports our graph
might write it: no limits, no batching, and no labels but fixed ones.

Its arguments are the bundle's folder and the port.
"""

import io
import sys
from pathlib import Path

import numpy as np
import openvino
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

BEST = 10

app = FastAPI()
tower = openvino.Core().compile_model(
    Path(sys.argv[1], "image_tower.onnx"), "CPU", {"PERFORMANCE_HINT": "LATENCY"}
)
side = tower.inputs[0].partial_shape[2].get_length()
labels = np.random.default_rng(0).standard_normal((80, 512), np.float32)


@app.post("/tag")
def tag(image: UploadFile) -> dict[str, float]:
    """The most probable words of the tower, or of 80 labels if it knows no words."""
    with Image.open(io.BytesIO(image.file.read())) as opened:
        resized = opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    values = (np.asarray(resized, np.float32) / 255 - 0.5) / 0.5
    found = tower.create_infer_request().infer([values.transpose(2, 0, 1)[None]])
    words = 1 / (1 + np.exp(-(found[2][0] if len(found) > 2 else labels @ found[0][0])))
    return {str(word): float(words[word]) for word in np.argsort(-words)[:BEST]}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
