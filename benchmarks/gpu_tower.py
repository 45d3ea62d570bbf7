"""The ViT-B/16 image tower on a CUDA card, for `benchmarks.gpu`."""

import sys

import torch
from torch import Tensor

from benchmarks.cuda_measuring import Action, measure, peak_megabytes
from benchmarks.measuring import markdown_table
from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig

BATCHES = (1, 32)
GFLOP = 35.1
"""GFLOP of the forward pass for one photograph."""

VISION = {"image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "head_width": 64}
TEXT = {"width": 8, "heads": 1, "layers": 1}


def tower_table() -> str:
    """Photographs per second: eager, compiled and with CUDA graphs, forward and with the backward pass."""
    config = BackboneConfig(embed_dim=512, vision=VISION, text=TEXT)
    backbone = Backbone(config).to("cuda", torch.bfloat16)
    parameters = [*backbone.visual.parameters()]

    def encode(pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        features = backbone.encode_images(pixel_values)
        return features.image_embeddings, features.patch_tokens

    ways = {
        "eager": encode,
        "torch.compile": torch.compile(encode, dynamic=False),
        "CUDA graphs": torch.compile(encode, dynamic=False, mode="reduce-overhead"),
    }

    def forward(way: str, pixel_values: Tensor) -> Action:
        def run() -> None:
            torch.compiler.cudagraph_mark_step_begin()
            with torch.no_grad():
                ways[way](pixel_values)

        return run

    def forward_backward(way: str, pixel_values: Tensor) -> Action:
        def run() -> None:
            torch.compiler.cudagraph_mark_step_begin()
            embeddings, tokens = ways[way](pixel_values)
            torch.autograd.grad(
                embeddings.float().sum() + tokens.float().sum(), parameters, allow_unused=True
            )

        return run

    rows = []
    for name, action in {"forward": forward, "forward and backward": forward_backward}.items():
        for batch in BATCHES:
            torch._dynamo.reset()  # or it gives up compiling after some shapes
            pixel_values = torch.randn(batch, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
            actions = {way: action(way, pixel_values) for way in ways}
            seconds = measure(actions)
            rates = {way: batch / seconds[way] for way in ways}
            tflops = f"{rates['CUDA graphs'] * GFLOP / 1e3:.0f}" if action is forward else ""
            memory = peak_megabytes(actions["eager"])
            rows.append([name, str(batch), *(f"{rate:,.0f}" for rate in rates.values()), tflops, memory])
            print(*rows[-1], file=sys.stderr)
    rates_header = [f"{way}, photographs/s" for way in ways]
    header = ["ViT-B/16, bfloat16", "photographs", *rates_header, "CUDA graphs, TFLOP/s", "eager, MiB"]
    return markdown_table(header, rows)
