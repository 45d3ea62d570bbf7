"""Parameter groups and learning rates of the published open-vocabulary run."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from sigrl.model.reference_names import HEAD_NAMES, map_reference_weights
from sigrl.training.loop.schedules import WarmUpCosine, layer_decay_groups


@pytest.fixture
def published(golden) -> dict:
    return json.loads((golden.root / "07_optim.json").read_text())


@pytest.fixture
def grouping(published) -> dict:
    (grouping,) = published["grouping"]
    return grouping


def empty(parameters) -> dict[str, nn.Parameter]:
    """Parameters of the published names and shapes; no memory, no values."""
    return {one["name"]: nn.Parameter(torch.empty(one["shape"], device="meta")) for one in parameters}


def groups_of(named: dict[str, nn.Parameter], grouping: dict) -> list[dict]:
    config = grouping["config"]
    return layer_decay_groups(
        named.items(), config["layers"], config["fix_layer"], config["layer_decay"], config["weight_decay"]
    )


def test_parameter_groups_match_the_published_run(grouping):
    named = empty(grouping["parameters"])
    groups = groups_of(named, grouping)
    for group, expected in zip(groups, grouping["groups"], strict=True):
        assert group["lr_scale"] == expected["lr_scale"]
        assert group["weight_decay"] == expected["weight_decay"]
        assert len(group["params"]) == expected["n_tensors"]
        assert sum(one.numel() for one in group["params"]) == expected["n_values"]
    place = {id(one): index for index, group in enumerate(groups) for one in group["params"]}
    for one in grouping["parameters"]:
        assert named[one["name"]].requires_grad == one["trainable"]
        assert place.get(id(named[one["name"]])) == one["group_index"]


def test_optimizer_settings_match_the_published_run(grouping):
    optimizer = torch.optim.AdamW(groups_of(empty(grouping["parameters"]), grouping), lr=1e-4)
    assert grouping["optimizer"] == "AdamW"
    assert [group["lr"] for group in optimizer.param_groups] == grouping["lr_at_construction"]
    for group in optimizer.param_groups:
        assert list(group["betas"]) == grouping["betas"]
        assert group["eps"] == grouping["eps"]


def test_renamed_parameters_keep_their_published_groups(grouping):
    """Under our names a parameter trains at the rate, and decays, as under the published name."""
    by_name = {one["name"]: one for one in grouping["parameters"]}
    theirs = {name: torch.empty(one["shape"], device="meta") for name, one in by_name.items()}
    weights = map_reference_weights(theirs)
    ours = {f"backbone.{name}": nn.Parameter(one) for name, one in weights.tower.items()}
    ours |= {f"head.{name}": nn.Parameter(one) for name, one in weights.head.items()}
    reference = {f"head.{ours}": name for name, ours in HEAD_NAMES.items()}
    reference |= {
        f"backbone.visual.{'proj' if name == 'projection_dist' else name}": name for name in by_name
    }
    groups = groups_of(ours, grouping)
    settings = {
        id(one): (group["lr_scale"], group["weight_decay"]) for group in groups for one in group["params"]
    }
    assert len(ours) == 152 + len(HEAD_NAMES)
    for name, parameter in ours.items():
        expected = by_name[reference[name]]
        trained = (expected["lr_scale"], expected["weight_decay"]) if expected["trainable"] else (None, None)
        assert settings.get(id(parameter), (None, None)) == trained, name
        assert parameter.requires_grad == expected["trainable"]


def test_learning_rates_follow_the_published_schedule(published):
    (schedule,) = published["schedule"]
    config = schedule["config"]
    cosine = WarmUpCosine(config["lr"], config["min_lr"], config["warmup_epochs"], config["epochs"])
    assert cosine == WarmUpCosine()
    one, another = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.AdamW(
        [{"params": [one]}, {"params": [another], "lr_scale": 0.65}], lr=config["lr"]
    )
    for position, rate, scaled in zip(
        schedule["epoch_points"], schedule["lr"], schedule["lr_of_a_group_with_lr_scale_0_65"], strict=True
    ):
        assert cosine.apply(optimizer, position) == cosine.at(position)
        found = [group["lr"] for group in optimizer.param_groups]
        np.testing.assert_allclose(found, [rate, scaled], rtol=1e-15)
