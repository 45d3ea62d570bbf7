"""`python -m benchmarks.training_memory`: photographs per training step on a GPU of 80 GB, COMPUTED.

The open-vocabulary protocol: ViT-B/16 at 224 pixels, 925 labels, bfloat16 autocast. A step with gradients
runs on tensors without data (torch's FakeTensorMode), and every allocated and freed tensor is counted at 128
and at 256 photographs: the difference is the cost of the photographs. SVFR is modelled as on a GPU: its fused
kernels keep nothing, and their gradients are computed one label at a time, as for many photographs. Fixed
costs are added up: weights, teacher, gradients, AdamW's moments, half-precision copies of weights, a chunk
of labels.
"""

import sys
from collections.abc import Iterable
from typing import Annotated, NamedTuple
from unittest.mock import patch

import torch
import typer
from accelerate import Accelerator
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import published_form
from benchmarks.measuring import Allocations, SavedBytes, markdown_table
from sigrl.model import blocks
from sigrl.model.backbone import Backbone
from sigrl.model.blocks import even_slices
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import SigRLHead, create_head
from sigrl.model.kernels import attention_gradients, triton_launch
from sigrl.model.kernels.triton_steps import TritonSteps
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.loop.acceleration import fit_to_device
from sigrl.training.loop.schedules import WarmUpCosine
from sigrl.training.loop.task import LoopConfig
from sigrl.training.losses.open_vocabulary import distillation_loss
from sigrl.training.tasks.nuswide.prompt_tuning import PromptedModel
from sigrl.training.tasks.nuswide.task import OpenVocabularyModel, OpenVocabularyTask

DIM, PATCHES, SIZE = 512, 196, 224
TOWERS = BackboneConfig(
    embed_dim=DIM,
    vision={"image_size": SIZE, "patch_size": 16, "width": 768, "layers": 12},
    text={"width": 512, "heads": 8, "layers": 12},
    quick_gelu=True,
)
PHOTOGRAPHS = (128, 256)
"""Large enough that the graph over the labels, which is allocated once, does not determine the peak."""
POSITIVES = 20
"""Positive labels per photograph; NUS-WIDE has fewer."""
CARD, RESERVE = 80e9, 0.1
"""Bytes of the GPU, and the share reserved for CUDA's context and fragmentation."""
CHUNKS = 8 * blocks.ACCELERATOR_BUDGET
"""Bytes of the tensors of one chunk of labels, if several labels fit into a chunk's budget."""


class Memory(NamedTuple):
    """Memory of a training step, in bytes."""

    kept: float
    """Kept for the backward pass, per photograph."""
    peak: float
    fixed: float
    """Independent of the number of photographs."""


def make_task(kind: str, labels: int, frozen_layers: int) -> OpenVocabularyTask:
    """The model of `sigrl.training.tasks.nuswide.run` with random weights."""
    backbone = Backbone(TOWERS)
    head = create_head(HeadConfig(kind=kind, form="published"), DIM)  # type: ignore[arg-type]
    return OpenVocabularyTask(
        OpenVocabularyModel(backbone, head, torch.randn(labels, DIM)),
        Backbone(TOWERS).eval().requires_grad_(False),
        WarmUpCosine(),
        train_data=[],
        frozen_layers=frozen_layers,
    )


def measure(kind: str, labels: int, checkpointing: bool, frozen_layers: int) -> Memory:
    """Of one photograph."""
    one_by_one = patch.object(attention_gradients, "block_slices", lambda count, _: even_slices(count, 1))
    fused = patch.multiple(triton_launch, decouple=_decouple, label_gate=_label_gate)
    with FakeTensorMode(), fused, one_by_one:
        task = make_task(kind, labels, frozen_layers)
        loop = LoopConfig(precision="bfloat16", checkpointing=checkpointing)
        fit_to_device(task.module, Accelerator(cpu=True), loop)
        if isinstance(task.module.head, SigRLHead) and task.module.head.svfr is not None:
            task.module.head.svfr.steps = TritonSteps()
        task.optimizer()
        task.module.train()
        fewer, more = (_step(task, photographs) for photographs in PHOTOGRAPHS)
        step = PHOTOGRAPHS[1] - PHOTOGRAPHS[0]
        kept, peak = ((many - few) / step for few, many in zip(fewer, more, strict=True))
        # The ranking loss needs the labels' values, which fake tensors do not have.
        ranking = 4 * POSITIVES * labels * 4
        return Memory(kept + ranking, peak + ranking, _fixed(task))


def _decouple(patch_tokens: Tensor, labels: Tensor, *_: object) -> Tensor:
    """Allocates what the kernel allocates: only its result."""
    return patch_tokens.new_empty(len(patch_tokens), *labels.shape, dtype=torch.float32)


def _label_gate(patch_tokens: Tensor, *_: object) -> Tensor:
    return patch_tokens.new_empty(1, *patch_tokens.shape, dtype=torch.float32).sum(0)


def _step(task: OpenVocabularyTask, photographs: int) -> tuple[int, int]:
    """(bytes kept for the backward pass, peak bytes)."""
    pixel_values = torch.empty(photographs, 3, SIZE, SIZE)
    with Allocations() as allocations:
        with SavedBytes(task.module) as saved, torch.autocast("cpu", torch.bfloat16):
            scores, embeddings = task.module(pixel_values)
            taught = task.teacher.encode_images(pixel_values).image_embeddings.detach()
            loss = scores.float().sum() + distillation_loss(embeddings, taught)
        kept = saved.total
        loss.backward()
    task.module.zero_grad()
    return kept, allocations.peak


def _fixed(task: OpenVocabularyTask) -> float:
    def size(parameters: Iterable[Tensor]) -> int:
        return sum(one.numel() for one in parameters)

    weights, teacher = size(task.module.parameters()), size(task.teacher.parameters())
    trained = size(one for one in task.module.parameters() if one.requires_grad)
    in_half = size(task.module.backbone.visual.parameters()) + size(task.teacher.visual.parameters())
    # Weights of model and teacher; a gradient and two moments; autocast's copies.
    return 4 * (weights + teacher) + 12 * trained + 2 * in_half + CHUNKS


def measure_published(labels: int) -> tuple[float, float]:
    """(bytes that the published head keeps per photograph, bytes that GMC keeps once), in float32 as
    published. Measured with a few labels and extrapolated: linearly for SVFR, quadratically for GMC."""
    head = create_head(HeadConfig(form="published"), DIM)
    assert isinstance(head, SigRLHead)
    few = 8

    def kept(photographs: int) -> int:
        tokens = torch.randn(photographs, PATCHES, DIM, requires_grad=True)
        images = ImageFeatures(torch.randn(photographs, DIM), tokens, (14, 14))
        with SavedBytes(head) as saved:
            _scores = published_form.score(head, images, torch.randn(few, DIM))
        return saved.total

    one, two = kept(1), kept(2)
    return (two - one) * labels / few, (2 * one - two) * (labels / few) ** 2


def measure_prompts(labels: int, photographs: int) -> tuple[int, float]:
    """(peak bytes of a step, fixed bytes) of MKT's second stage, which tunes the prompt's tokens alone."""
    named = Vocabulary.from_names([f"label {number}" for number in range(labels)]).labels
    backbone = Backbone(TOWERS.model_copy(update={"learned_prompt": True}))
    module = PromptedModel(backbone, create_head(HeadConfig(kind="mkt", form="published"), DIM), named)
    module.requires_grad_(False)
    module.prompt.requires_grad_(True)
    with FakeTensorMode(allow_non_fake_inputs=True), Allocations() as allocations:
        with torch.autocast("cpu", torch.bfloat16):
            scores = module(torch.empty(photographs, 3, SIZE, SIZE))
        scores.float().sum().backward()
    # Weights, and autocast's copies of them.
    return allocations.peak, 6 * sum(one.numel() for one in module.parameters())


def main(labels: Annotated[int, typer.Option(help="How many are trained")] = 925) -> None:
    """Print the table."""
    header = ["head", "trained blocks", "checkpointing", "kept, MiB", "peak, MiB", "fixed, GB"]
    rows = []
    for kind, frozen_layers in (("clip", 10), ("mkt", 10), ("sigrl", 10), ("sigrl", -1)):
        for checkpointing in (False, True):
            memory = measure(kind, labels, checkpointing, frozen_layers)
            fits = int((CARD * (1 - RESERVE) - memory.fixed) / memory.peak)
            trained = "2" if frozen_layers == 10 else "12"
            row = [kind, trained, "yes" if checkpointing else "no"]
            row += [f"{memory.kept / 2**20:.1f}", f"{memory.peak / 2**20:.1f}", f"{memory.fixed / 1e9:.1f}"]
            rows.append([*row, f"{fits:,}"])
            print(*rows[-1], file=sys.stderr)
    of_step, of_weights = measure_prompts(labels, PHOTOGRAPHS[0])
    one_tensor = 32 * PATCHES * labels * DIM * 4
    of_one, of_graph = measure_published(labels)
    fits = int((CARD * (1 - RESERVE) - of_graph) / of_one)
    print(f"\n{markdown_table([*header, 'photographs in 80 GB'], rows)}\n")
    print(
        f"Second stage of MKT: {(of_step + of_weights) / 1e9:.1f} GB at {PHOTOGRAPHS[0]} photographs, "
        f"{of_weights / 1e9:.1f} of them for weights.\n"
    )
    print(
        f"Published form, {labels} labels, float32: one of its tensors is {one_tensor / 1e9:.1f} GB at 32 "
        f"photographs; the head alone keeps {of_one / 1e9:.2f} GB for one and {of_graph / 1e9:.1f} GB "
        f"for the graph: {fits} photographs in 80 GB, towers not counted."
    )


if __name__ == "__main__":
    typer.run(main)
