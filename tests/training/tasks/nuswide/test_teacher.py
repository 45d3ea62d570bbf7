"""The teacher of open-vocabulary training: what it takes from the student, and what that saves."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.heads import create_head
from sigrl.training.loop.schedules import ConstantRate
from sigrl.training.tasks.nuswide.task import OpenVocabularyModel, OpenVocabularyTask
from sigrl.training.tasks.nuswide.teacher import frozen_teacher

OPEN_CLIP = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 6, "head_width": 16}
TIMM = {"timm_model_name": "test_vit", "image_size": 160}
DIM = 16


def make_task(vision: dict, frozen_layers: int) -> OpenVocabularyTask:
    torch.manual_seed(0)
    text = {"width": 16, "heads": 1, "layers": 1}
    backbone = Backbone(BackboneConfig(embed_dim=DIM, vision=vision, text=text))
    head = create_head(HeadConfig(kind="clip", form="published"), DIM)
    model = OpenVocabularyModel(backbone, head, torch.randn(5, DIM))
    task = OpenVocabularyTask(
        model, frozen_teacher(backbone), ConstantRate(1e-3), train_data=[], frozen_layers=frozen_layers
    )
    task.optimizer()
    task.module.train()
    return task


def batch(task: OpenVocabularyTask, photographs: int) -> tuple[Tensor, Tensor]:
    size = task.module.backbone.config.vision["image_size"]
    labels = torch.tensor([[1, -1, -1, 0, -1]]).expand(photographs, -1)
    return torch.randn(photographs, 3, size, size), labels


@pytest.mark.parametrize("photographs", [1, 2, 3, 4])
@pytest.mark.parametrize("frozen_layers", [-1, 0, 1])
@pytest.mark.parametrize("vision", [OPEN_CLIP, TIMM], ids=["open_clip", "timm"])
def test_student_equal_to_its_teacher_has_zero_distillation_loss(vision, frozen_layers, photographs) -> None:
    """Otherwise the signs of rounding would be its gradient, and differ with the number of processes."""
    task = make_task(vision, frozen_layers)
    output = task.training_step(task.module, batch(task, photographs))
    assert output.parts["distillation"].item() == 0


@pytest.mark.parametrize("vision", [OPEN_CLIP, TIMM], ids=["open_clip", "timm"])
def test_shared_teacher_matches_the_whole_frozen_tower(vision) -> None:
    task = make_task(vision, frozen_layers=1)
    whole = deepcopy(task.module.backbone).eval()
    with torch.no_grad():
        for parameter in task.module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    inputs = batch(task, 3)
    _, embeddings = task.module(inputs[0])
    taught = whole.encode_images(inputs[0]).image_embeddings
    expected = (embeddings - taught).abs().mean()
    output = task.training_step(task.module, inputs)
    assert expected > 0
    torch.testing.assert_close(output.parts["distillation"], expected)


def test_block_with_dropout_is_not_shared_with_the_teacher() -> None:
    shared, own = (
        sum(one.numel() for one in make_task(vision, frozen_layers=3).teacher.parameters())
        for vision in (TIMM, TIMM | {"timm_drop_path": 0.1})
    )
    assert shared < own


def test_shared_blocks_are_computed_once() -> None:
    """With five of six blocks frozen: the teacher's work is a sixth of the tower's, and its first layer."""
    tower = FlopCounterMode(display=False)
    task = make_task(OPEN_CLIP, frozen_layers=5)
    inputs = batch(task, 2)
    with tower, torch.no_grad():
        task.module.backbone.encode_images(inputs[0])
    work = {}
    for frozen_layers in (0, 5):
        task = make_task(OPEN_CLIP, frozen_layers)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            task.module(inputs[0])
            student = counter.get_total_flops()
            task._teacher.teach(inputs[0])
            work[frozen_layers] = counter.get_total_flops() - student
    assert work[0] == tower.get_total_flops()
    assert work[5] < 0.25 * work[0]
