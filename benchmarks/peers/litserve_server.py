"""LitServe with its batching."""

import sys

import litserve
import torch
from fastapi import Request
from torch import Tensor

from benchmarks.peers.clip import BATCH, BATCH_SECONDS, Clip


class Api(litserve.LitAPI):
    """Decodes each photograph separately and runs the model on a batch."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        self._clip = Clip()

    def decode_request(self, request: Request) -> Tensor:
        # At this point the request is its form.
        return self._clip.pixel_values(request["image"].file.read())

    def batch(self, inputs: list[Tensor]) -> Tensor:
        return torch.stack(inputs)

    def predict(self, x: Tensor) -> list[dict[str, float]]:
        return self._clip.tag(x)

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        return output

    def encode_response(self, output: dict[str, float]) -> dict[str, float]:
        return output


if __name__ == "__main__":
    # LitServe 0.2.19 does not start where version 2 of the package mcp is installed, which it would not use.
    litserve.server._MCP_AVAILABLE = False
    api = Api(max_batch_size=BATCH, batch_timeout=BATCH_SECONDS, api_path="/tag")
    server = litserve.LitServer(api, accelerator="cpu", timeout=False)
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
