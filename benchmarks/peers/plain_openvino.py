"""A plain FastAPI endpoint that runs the bundled image tower on OpenVINO, as a user who exports our graph
might write it: no limits, no batching, and no labels but the words that the tower knows."""

import io
import sys

import numpy as np
import openvino
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from sigrl.model.bundle_files import bundled_path

SIDE, BEST = 320, 10

app = FastAPI()
tower = openvino.Core().compile_model(
    bundled_path() / "image_tower.onnx", "CPU", {"PERFORMANCE_HINT": "LATENCY"}
)


@app.post("/tag")
def tag(image: UploadFile) -> dict[str, float]:
    """The most probable words of the tower."""
    with Image.open(io.BytesIO(image.file.read())) as opened:
        resized = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    values = (np.asarray(resized, np.float32) / 255 - 0.5) / 0.5
    found = tower.create_infer_request().infer([values.transpose(2, 0, 1)[None]])
    words = 1 / (1 + np.exp(-found[2][0]))
    return {str(word): float(words[word]) for word in np.argsort(-words)[:BEST]}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
