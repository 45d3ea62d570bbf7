"""A tiny CLIP as an entry of the list of `sigrl checkpoint get`, and its weights' path on the stand-in."""

from sigrl.service.hub.catalogue import Model

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
MODEL = Model(
    name="tiny-clip",
    architecture="tiny-clip",
    tag="random",
    repository="someone/tiny-clip",
    parameters=(0.1, 0.4),
    resolution=64,
    languages="English",
    licence="none: random weights",
    source="https://example.com",
)
WEIGHTS = "/someone/tiny-clip/resolve/main/open_clip_model.safetensors"
