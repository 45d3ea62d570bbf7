"""An endpoint as one writes it first: a photograph in, the model, an answer."""

import sys

import uvicorn
from fastapi import FastAPI, UploadFile

from benchmarks.peers.clip import Clip

app = FastAPI()
clip = Clip()


@app.post("/tag")
def tag(image: UploadFile) -> dict[str, float]:
    """In a thread for each request, as FastAPI does with a `def`."""
    return clip.tag(clip.pixel_values(image.file.read())[None])[0]


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
