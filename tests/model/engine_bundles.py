"""Bundles with every head, for the tests of engines: random weights, the same towers in all of them."""

from functools import cache

import numpy as np
import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

from sigrl.model.background import make_background, save_background
from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.bundle_files import make_files, read_files, write_files
from sigrl.model.calibration import CalibrationConfig
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.manifest import CALIBRATION
from sigrl.model.openvino_engine import OpenVinoEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.bundles import onnx_files
from sigrl.training.bundles.onnx_graphs import Decouple, Gate, Query

NAMES = ("dog", "zebra", "red car", "a very long thing with many words", "x")
VOCABULARY = Vocabulary.from_names(NAMES)
CONTEXT = ("dog", "cat", "tree")
HEADS = {
    "sigrl": HeadConfig(top_k=2, context_labels=CONTEXT),
    "sigrl-no-gmc": HeadConfig(top_k=2, context_labels=CONTEXT, gmc=False),
    "sigrl-no-svfr": HeadConfig(top_k=2, context_labels=CONTEXT, svfr=False),
    "clip": HeadConfig(kind="clip"),
    "mkt": HeadConfig(kind="mkt", top_k=2),
    "biam": HeadConfig(kind="biam", top_k=2),
    "sigrl-published": HeadConfig(form="published", top_k=2),
    "mkt-published": HeadConfig(kind="mkt", form="published", top_k=2),
    "biam-published": HeadConfig(kind="biam", form="published", top_k=2),
}
CLIP = BackboneConfig(
    embed_dim=32,
    vision={"image_size": 64, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1},
    text={"width": 8, "heads": 1, "layers": 1},
    quick_gelu=True,
)
BUNDLES = (*HEADS, "mkt-on-clip", "mkt-prompted", "mkt-prompted-on-clip")


def write_bundle(name, directory, description, tokenizer):
    """Writes the bundle called `name`, from `tiny_description` and its tokenizer.json."""
    head = HEADS[name.removesuffix("-on-clip").removesuffix("-prompted")]
    on_clip, prompted = name.endswith("-on-clip"), "-prompted" in name
    backbone = CLIP if on_clip else description.backbone
    backbone = backbone.model_copy(update={"learned_prompt": prompted})
    description = description.model_copy(update={"head": head, "backbone": backbone})
    tokenizer = None if on_clip else tokenizer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TaggingModel(description.backbone, description.head, tokenizer)
        if prompted:
            torch.nn.init.normal_(model.backbone.text.token_embedding.prompt)
        if description.head.context_labels:
            model.head.set_context(torch.randn(len(CONTEXT), 32))
        if description.head.kind == "biam":  # as it starts, it is the mkt head
            torch.nn.init.normal_(model.head.attention.projection.weight)
    save_bundle(directory, description, model.state_dict(), tokenizer)


def write_calibrated(source, directory):
    """Writes the bundle in `source` with a background set of 40 random photographs; "dog" is trained."""
    files = read_files(source)
    engine = TorchEngine.load(source, "cpu", precision="float32")
    images = engine.encode_images(np.random.default_rng(5).standard_normal((40, 3, 64, 64), dtype=np.float32))
    trained = engine.encode_labels(Vocabulary.from_names(["dog"])).label_embeddings
    background = make_background(engine.keep_images(images), trained.numpy())
    calibration = CalibrationConfig(photographs=40, offset=-3.0, slope=0.7)
    description = files.manifest.model_copy(update={"calibration": calibration})
    contents = {**files.contents, CALIBRATION: save_background(background)}
    write_files(directory, make_files(description, contents))


def share_exports(patch):
    """Within the patch, steps that bundles share are traced once: each takes a second."""
    seen = {}
    trace = onnx_files.trace

    def trace_once(step, sizes):
        head = getattr(step, "head", None)
        of_svfr = isinstance(step, (Decouple, Query, Gate))
        config = None if head is None or of_svfr else (head.config.form, head.config.top_k, head.config.kind)
        weights = tuple(
            tensor.numpy().tobytes()
            for name, tensor in step.state_dict().items()
            if head is None or ("svfr" in name) == of_svfr
        )
        # A tower's text names its activations, which have no weights.
        described = repr(step) if head is None else type(step)
        key = (described, config, sizes.get("P"), weights)
        if key not in seen:
            seen[key] = trace(step, sizes)
        return seen[key]

    patch.setattr(onnx_files, "trace", trace_once)
    # Half of that second: the exporter parses all of its own library, each time.
    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))


def load_openvino(directory, **options):
    """The engine on OpenVINO in float32 and in one thread."""
    return OpenVinoEngine.load(directory, precision="float32", threads=1, **options)
