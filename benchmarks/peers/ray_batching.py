"""Ray Serve with its own batching: `@serve.batch`."""

import signal
import sys

import ray
import torch
from fastapi import FastAPI, UploadFile
from ray import serve

from benchmarks.peers.clip import BATCH, BATCH_SECONDS, Clip

app = FastAPI()


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Tagger:
    """One replica, whose model uses all cores like the other servers'."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._clip = Clip()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=BATCH_SECONDS)
    async def _tag(self, photographs: list[bytes]) -> list[dict[str, float]]:
        return self._clip.tag(torch.stack([self._clip.pixel_values(each) for each in photographs]))

    @app.post("/tag")
    async def tag(self, image: UploadFile) -> dict[str, float]:
        return await self._tag(await image.read())


if __name__ == "__main__":
    ray.init("local", logging_level="ERROR", log_to_driver=False, include_dashboard=False)
    serve.start(http_options={"port": int(sys.argv[1])})
    serve.run(Tagger.bind(torch.get_num_threads()))
    signal.pause()
