"""Five steps of the published open-vocabulary loop, made by the task and the loop that users train with."""

import pytest
import torch
from accelerate import Accelerator

from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.heads import create_head
from sigrl.model.reference_names import HEAD_NAMES, map_reference_weights
from sigrl.training.loop.schedules import WarmUpCosine
from sigrl.training.loop.step import Optimization
from sigrl.training.loop.task import LoopConfig
from sigrl.training.tasks.nuswide.task import OpenVocabularyModel, OpenVocabularyTask
from sigrl.training.tasks.nuswide.teacher import frozen_teacher

FILE = "08_trajectory.npz"
CANCELLED = ("SemanticDecoupling.fc3.bias", "DecouplingSemantic.fc3.bias")
KEY_BIAS = "attn.in_proj_bias"
NAMES = {ours: name for name, ours in HEAD_NAMES.items()}


class OneRate:
    """Every group at the same rate, whatever its scale."""

    def apply(self, optimizer: torch.optim.Optimizer, position: float) -> float:  # noqa: ARG002
        for group in optimizer.param_groups:
            group["lr"] = 1e-3
        return 1e-3


SCHEDULES = {"flat": OneRate(), "scaled": WarmUpCosine(rate=1e-3, floor=1e-3, warm_up_epochs=0, epochs=1)}


@pytest.fixture
def backbone(golden, dtype) -> Backbone:
    shape = golden.manifest["files"]["weights.safetensors"]["vision_tower"]
    vision = {"image_size": 64, "patch_size": shape["patch"], "width": shape["width"]}
    vision |= {"layers": shape["layers"], "head_width": shape["width"] // shape["heads"]}
    text = {"width": 8, "heads": 1, "layers": 1}
    backbone = Backbone(
        BackboneConfig(embed_dim=shape["embed_dim"], vision=vision, text=text, quick_gelu=True)
    )
    tower = map_reference_weights(golden.weights("plain")).tower
    backbone.load_state_dict(tower, strict=False)
    return backbone.to(dtype)


def published_name(ours: str) -> str:
    name = ours.removeprefix("backbone.visual.").removeprefix("head.")
    return NAMES.get(name, {"proj": "projection_dist"}.get(name, name))


def batches(golden, case: dict, name: str, dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Five, without photographs that have no positive label, which the published loop drops."""
    labels = golden.array(FILE, f"{name}/labels")
    images = [golden.recipe(recipe).to(dtype) for recipe in case["images"]]
    every = [(images[step % len(images)], labels[step % len(labels)]) for step in range(5)]
    return [(pixels[(truth > 0).any(1)], truth[(truth > 0).any(1)]) for pixels, truth in every]


@pytest.mark.parametrize("name", SCHEDULES)
def test_five_training_steps_match_the_published_run(golden, backbone, dtype, name) -> None:
    case = golden.case(FILE, name)
    head = create_head(HeadConfig(form="published", top_k=case["topk"]), 512, dropout=0.0).to(dtype)
    head.load_state_dict(map_reference_weights(golden.weights("plain")).head)
    teacher = frozen_teacher(backbone)
    if name == "scaled":
        teacher.visual.proj.mul_(2)
    label_embeddings = golden.array(FILE, f"{name}/label_embed").to(dtype)
    task = OpenVocabularyTask(
        OpenVocabularyModel(backbone, head, label_embeddings),
        teacher,
        SCHEDULES[name],
        train_data=[],
        frozen_layers=case["fix_layer"],
        layer_decay=case["layer_decay"],
        weight_decay=case["weight_decay"],
    )
    optimization = Optimization(task, Accelerator(cpu=True), LoopConfig())
    trained = {published_name(ours): one for ours, one in task.module.named_parameters() if one.requires_grad}
    start = {ours: one.detach().clone() for ours, one in trained.items()}
    logged = []
    steps = batches(golden, case, name, dtype)
    for number, batch in enumerate(steps):
        with torch.no_grad():
            golden.compare(FILE, f"{name}/score_step{number}", task.module(batch[0])[0])
        logged.append(optimization.step([batch], number + 1, position=number / 5))
        if number == 0:
            gradients = {ours: one.grad.clone() for ours, one in trained.items()}
    for theirs, ours in {"rank_loss": "ranking", "dist_loss": "distillation", "total_loss": "loss"}.items():
        golden.compare(FILE, f"{name}/{theirs}", torch.stack([one[ours] for one in logged]))
    task.module.eval()
    with torch.no_grad():
        scores, embeddings = task.module(steps[0][0])
    golden.compare(FILE, f"{name}/final_score", scores)
    golden.compare(FILE, f"{name}/final_dist_feat", embeddings)
    for theirs, parameter in trained.items():
        compare(golden, f"{name}/grad0/{theirs}", gradients[theirs])
        compare(golden, f"{name}/final/{theirs}", parameter)
    moved = {theirs: parameter - start[theirs] for theirs, parameter in trained.items()}
    compare_norms(golden, f"{name}/grad_norm_step0", gradients)
    compare_norms(golden, f"{name}/update_norm", moved)


def compare(golden, array: str, ours: torch.Tensor) -> None:
    """One parameter, or its gradient. The bias of the attention's keys is left out: its gradient is 0, and
    Adam makes steps of the rounding."""
    ours = ours.detach().reshape(golden.described(FILE)[array]["full_shape"]).clone()
    if array.endswith(KEY_BIAS):
        width = len(ours) // 3
        stored = golden.file(FILE)[array if ours.dtype == torch.float32 else f"{array}.f64"]
        places = torch.arange(0, len(ours), -(-len(ours) // len(stored)))
        keys = (places >= width) & (places < 2 * width)
        ours[places[keys]] = torch.from_numpy(stored)[keys]
    golden.compare(FILE, array, ours)


def compare_norms(golden, array: str, ours: dict[str, torch.Tensor]) -> None:
    """Without the parameters whose gradient is 0, two of which this house does not have."""
    order = golden.manifest["files"][FILE]["parameter_order"][array.split("/")[0]]
    dtype = ours["projection_dist"].dtype
    stored = torch.from_numpy(golden.file(FILE)[array if dtype == torch.float32 else f"{array}.f64"])
    assert [one for one in order if one not in ours] == list(CANCELLED)
    norms = {name: one.detach().double().norm().to(dtype) for name, one in ours.items()}
    skipped = {
        name: stored[place] for place, name in enumerate(order) if name.endswith((KEY_BIAS, *CANCELLED))
    }
    golden.compare(FILE, array, torch.stack([(norms | skipped)[name] for name in order]))
