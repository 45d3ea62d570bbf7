import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from sigrl.training.loop.schedules import ConstantRate, WarmUpCosine, half_cosine, layer_decay_groups


def test_half_cosine_warms_up_and_ends_at_zero() -> None:
    factor = half_cosine(warm_up=10, total=100)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == max(values[8:12])
    assert values[9:] == sorted(values[9:], reverse=True)
    assert values[100] == pytest.approx(0)
    assert factor(200) == pytest.approx(0)
    assert factor(50) == pytest.approx(0.5)


def test_a_run_shorter_than_the_warm_up_stays_below_the_full_rate() -> None:
    factor = half_cosine(warm_up=50, total=6)
    assert all(0 <= factor(step) <= 6 / 50 for step in range(7))


def test_warm_up_cosine_rises_to_its_peak_and_falls_to_its_floor() -> None:
    cosine = WarmUpCosine(rate=1.0, floor=0.1, warm_up_epochs=2, epochs=10)
    assert cosine.at(0) == 0
    assert cosine.at(1) == 0.5
    assert cosine.at(2) == 1
    assert cosine.at(6) == pytest.approx(0.55)
    assert cosine.at(10) == cosine.at(11) == 0.1


def test_schedule_without_warm_up_starts_at_the_peak() -> None:
    assert WarmUpCosine(rate=1.0, warm_up_epochs=0).at(0) == 1


NAMES = (
    "backbone.visual.class_embedding",
    "backbone.visual.conv1.weight",
    "backbone.visual.transformer.resblocks.0.ln_1.bias",
    "backbone.visual.transformer.resblocks.1.mlp.c_fc.weight",
    "backbone.visual.trunk.patch_embed.proj.weight",
    "backbone.visual.trunk.blocks.0.norm1.weight",
    "backbone.visual.proj",
    "head.svfr.fusion.weight",
    "head.graph.hidden.attention",
    "head.log_global_scale",
)


def parameters(names=NAMES) -> dict[str, nn.Parameter]:
    def shape(name: str) -> tuple[int, ...]:
        vector = name.endswith(("bias", "norm1.weight", "attention", "embedding"))
        return () if name.endswith("scale") else (2,) if vector else (2, 2)

    return {name: nn.Parameter(torch.ones(shape(name))) for name in names}


@pytest.mark.parametrize(("frozen_layers", "trained"), [(-1, 10), (0, 7), (1, 5), (2, 4)])
def test_frozen_layers_are_counted_from_the_bottom(frozen_layers: int, trained: int) -> None:
    named = parameters()
    groups = layer_decay_groups(named.items(), blocks=2, frozen_layers=frozen_layers)
    assert sum(len(group["params"]) for group in groups) == trained
    assert sum(one.requires_grad for one in named.values()) == trained
    assert named["head.svfr.fusion.weight"].requires_grad


def test_layer_decay_scales_rates_and_weight_decay_skips_vectors() -> None:
    named = parameters()
    groups = layer_decay_groups(named.items(), blocks=2, frozen_layers=-1, layer_decay=0.5, weight_decay=0.1)
    settings = {
        name: (group["lr_scale"], group["weight_decay"])
        for name, parameter in named.items()
        for group in groups
        if any(parameter is one for one in group["params"])
    }
    assert list(settings.values()) == [
        (0.125, 0.0),
        (0.125, 0.1),
        (0.25, 0.0),
        (0.5, 0.1),
        (0.125, 0.1),
        (0.25, 0.0),
        (1.0, 0.1),
        (1.0, 0.1),
        (1.0, 0.1),
        (1.0, 0.0),
    ]


def test_shared_parameters_appear_once_and_frozen_ones_not_at_all() -> None:
    named = parameters(("a.weight", "b.weight", "c.weight"))
    named["b.weight"] = named["a.weight"]
    named["c.weight"].requires_grad_(False)
    (group,) = layer_decay_groups(named.items(), blocks=12)
    assert group["params"] == [named["a.weight"]]


def test_layer_decay_does_not_apply_to_text_tower_blocks() -> None:
    named = parameters(
        ("backbone.text.transformer.resblocks.0.mlp.c_fc.weight", "backbone.text.ln_final.bias")
    )
    groups = layer_decay_groups(named.items(), blocks=12)
    assert {group["lr_scale"] for group in groups} == {1.0}


def test_every_clip_tower_parameter_is_assigned_to_a_layer() -> None:
    """open_clip's own names, in case they change."""
    with torch.device("meta"):
        tower = VisionTransformer(32, 16, 8, layers=3, heads=2, mlp_ratio=4, output_dim=8)
    prefixed = {f"backbone.visual.{name}": one for name, one in tower.named_parameters()}
    groups = layer_decay_groups(prefixed.items(), blocks=3, frozen_layers=0)
    frozen = {
        name.removeprefix("backbone.visual.") for name, one in prefixed.items() if not one.requires_grad
    }
    assert frozen == {
        "class_embedding",
        "positional_embedding",
        "conv1.weight",
        "ln_pre.weight",
        "ln_pre.bias",
    }
    top = {id(one) for group in groups if group["lr_scale"] == 1 for one in group["params"]}
    assert {name for name, one in tower.named_parameters() if id(one) in top} == {
        "ln_post.weight",
        "ln_post.bias",
        "proj",
    }


def test_towers_without_blocks_are_one_layer_below_their_pool() -> None:
    below = ("visual.conv1.weight", "visual.layer1.0.conv1.weight", "visual.trunk.stages.0.blocks.1.gamma")
    above = ("visual.attnpool.k_proj.weight", "visual.trunk.head.norm.bias", "visual.head.proj.weight")
    named = parameters((*below, *above, "head.bias"))
    groups = layer_decay_groups(named.items(), blocks=0, frozen_layers=-1, layer_decay=0.5)
    rates = {id(one): group["lr_scale"] for group in groups for one in group["params"]}
    assert {name: rates[id(one)] for name, one in named.items()} == {
        **dict.fromkeys(below, 0.5),
        **dict.fromkeys((*above, "head.bias"), 1.0),
    }
    layer_decay_groups(named.items(), blocks=0, frozen_layers=10)
    assert {name for name, one in named.items() if not one.requires_grad} == set(below)


def test_what_comes_before_the_blocks_of_timm_towers_is_the_first_layer() -> None:
    """Of PE's ViT, of ViTamin, whose patch embedding has blocks of its own, and of EfficientNet. A module
    in a block belongs to the block's layer, whatever its name."""
    before = (
        "visual.trunk.norm_pre.weight",
        "visual.trunk.reg_token",
        "visual.trunk.patch_embed.backbone.stages.1.blocks.3.conv1_1x1.weight",
        "visual.trunk.conv_stem.weight",
        "visual.trunk.bn1.weight",
    )
    inside = ("visual.trunk.blocks.0.0.bn1.weight", "visual.trunk.blocks.0.conv1.weight")
    named = parameters((*before, *inside))
    layer_decay_groups(named.items(), blocks=4, frozen_layers=0)
    assert {name for name, one in named.items() if not one.requires_grad} == set(before)


def test_constant_rate_applies_only_the_group_scale() -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.Adam([{"params": parameters[:1]}, {"params": parameters[1:], "lr_scale": 10.0}])
    rate = ConstantRate(1e-5)
    for position in (0, 0.5, 9.9):
        assert rate.apply(optimizer, position) == 1e-5
        assert [group["lr"] for group in optimizer.param_groups] == [1e-5, pytest.approx(1e-4)]
