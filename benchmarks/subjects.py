"""What `benchmarks.method` measures: a ViT-B/16 with random weights, which do not affect speed, and the
bundled checkpoint; the plain product for comparison; and the head's inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.measuring import Function
from sigrl.model.acceleration import PrecisionChoice
from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.bundle_files import bundled_path, write_files
from sigrl.model.config import BackboneConfig, HeadConfig, Preprocessing
from sigrl.model.engine import Engine, LabelFeatures
from sigrl.model.features import ImageFeatures
from sigrl.model.manifest import Description
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.openvino_engine import OpenVinoEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.bundles.export import export

EMBED_DIM, GRID = 512, (14, 14)
TOWER_FLOP = 35.1e9
"""Operations of ViT-B/16 for one photograph of 224 pixels; a multiply-add counts as two."""
MOST_LABELS = 10_000
CONTEXT = tuple(f"context label {number}" for number in range(80))


def bare_product() -> tuple[Function, float]:
    """(bfloat16 product of 1576 x 768 and 768 x 3072, its operations): the largest product of a ViT-B/16 on 8
    photographs."""
    left, right = torch.randn(1576, 768).bfloat16(), torch.randn(3072, 768).bfloat16()
    return lambda: functional.linear(left, right), 2 * 1576 * 768 * 3072


def vit_description(form: str) -> Description:
    """ViT-B/16 with the sigrl head and 80 context labels. Its text tower is one narrow layer, because
    encoding labels is not measured."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    vision = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16}
    context = CONTEXT if form == "context" else ()
    return Description(
        name="ViT-B/16, random weights",
        backbone=BackboneConfig(embed_dim=EMBED_DIM, vision=vision, text=text),
        head=HeadConfig.model_validate({"form": form, "context_labels": context}),
        preprocessing=Preprocessing(),
        default_threshold=0.5,
        provenance={"data": "none: random weights"},
    )


def vit_model(form: str) -> TaggingModel:
    """The model of `vit_description` with newly drawn weights."""
    description = vit_description(form)
    torch.manual_seed(0)
    model = TaggingModel(description.backbone, description.head).eval().requires_grad_(False)
    if form == "context":
        model.head.set_context(torch.randn(len(CONTEXT), EMBED_DIM))
    return model


def encode_images(model: TaggingModel, pixel_values: torch.Tensor) -> Function:
    """The image tower on a batch."""
    return lambda: model.backbone.encode_images(pixel_values)


def head_inputs(label_count: int) -> tuple[ImageFeatures, torch.Tensor]:
    """One photograph's features and `label_count` label embeddings, of CLIP's size."""
    patches = GRID[0] * GRID[1]
    generator = torch.Generator().manual_seed(label_count)

    def draw(*shape: int) -> torch.Tensor:
        return 0.44 * torch.randn(shape, generator=generator)

    return ImageFeatures(draw(1, EMBED_DIM), draw(1, patches, EMBED_DIM), GRID), draw(label_count, EMBED_DIM)


@dataclass(frozen=True)
class Subject:
    """One checkpoint on several engines."""

    name: str
    engines: Mapping[str, Engine]
    labels: Mapping[str, LabelFeatures]
    """`MOST_LABELS` encoded labels, by engine."""

    def tagging(self, engine_name: str, label_count: int, batch: int) -> Function:
        """Computes the logits of a batch of pixel values."""
        engine = self.engines[engine_name]
        labels = self.labels[engine_name]
        some = replace(
            labels,
            label_embeddings=labels.label_embeddings[:label_count],
            refined=labels.refined[:label_count],
            evidence=None if labels.evidence is None else labels.evidence[:label_count],
        )
        size = engine.preprocessing.image_size
        pixels = np.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=np.float32)
        return lambda: engine.score(engine.encode_images(pixels), some)


def vit_subject(paths: Mapping[str, tuple[PrecisionChoice, bool]], scratch: Path) -> Subject:
    """The ViT-B/16 in the context form, written to `scratch`."""
    directory = scratch / "vit"
    save_bundle(directory, vit_description("context"), vit_model("context").state_dict())
    return _subject("ViT-B/16", directory, paths, scratch / "vit-onnx")


def bundled_subject(paths: Mapping[str, tuple[PrecisionChoice, bool]], scratch: Path) -> Subject:
    """The bundled checkpoint."""
    return _subject("bundled", bundled_path(), paths, scratch / "bundled-onnx")


def _subject(
    name: str, directory: Path, paths: Mapping[str, tuple[PrecisionChoice, bool]], exported: Path
) -> Subject:
    write_files(exported, export(directory, lambda *_: None))
    engines: dict[str, Engine] = {
        path: TorchEngine.load(directory, "cpu", precision=precision, compiled=compiled)
        for path, (precision, compiled) in paths.items()
    }
    vocabulary = Vocabulary.from_names([f"label number {number}" for number in range(MOST_LABELS)])
    features = next(iter(engines.values())).encode_labels(vocabulary)
    labels: dict[str, LabelFeatures] = dict.fromkeys(engines, features)
    engines["ONNX Runtime, float32"] = OnnxEngine.load(exported, "cpu")
    engines["OpenVINO"] = OpenVinoEngine.load(exported)
    packed = next(iter(engines.values())).pack_labels(features)
    for path in ("ONNX Runtime, float32", "OpenVINO"):
        labels[path] = engines[path].unpack_labels(packed)
    return Subject(name, engines, labels)
