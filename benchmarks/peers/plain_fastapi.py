"""The simplest FastAPI endpoint: it runs the model on the photograph of each request."""

import sys

import uvicorn
from fastapi import FastAPI, UploadFile

from benchmarks.peers.clip import Clip

app = FastAPI()
clip = Clip()


@app.post("/tag")
def tag(image: UploadFile) -> dict[str, float]:
    """Runs in a thread per request, because FastAPI does so for a `def`."""
    return clip.tag(clip.pixel_values(image.file.read())[None])[0]


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
