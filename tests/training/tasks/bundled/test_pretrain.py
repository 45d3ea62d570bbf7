"""Pretraining, from the real weights of the registry packages, on 24 photographs."""

from pathlib import Path

import pytest
import torch

from sigrl.model.bundle import TaggingModel, load_bundle, save_bundle
from sigrl.model.manifest import Description
from sigrl.training.backbones.initialisation import minilm_tokenizer, starting_point
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.bundled.fit import choose_threshold, fit_head, prepare
from sigrl.training.tasks.bundled.pretrain import pretrain


@pytest.mark.usefixtures("pretrain_packages")
def test_pretrained_towers_can_be_saved_and_fitted(
    lite_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = {}

    def keep_start(config):
        backbone, classifier = starting_point(config)
        started.update({name: tensor.clone() for name, tensor in backbone.state_dict().items()})
        return backbone, classifier

    monkeypatch.setattr("sigrl.training.tasks.bundled.pretrain.starting_point", keep_start)
    backbone, head = pretrain(lite_config, tmp_path / "cache")
    weights = backbone.state_dict()
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert all(parameter.isfinite().all() for parameter in head.parameters())

    changed = {name for name, tensor in weights.items() if not torch.equal(tensor, started[name])}
    frozen = ("visual.trunk.conv_stem", *(f"visual.trunk.blocks.{block}." for block in range(6)))
    assert not [name for name in changed if name.startswith(frozen) or "running" in name]
    assert not [name for name in changed if name.startswith("text.") and "projection" not in name]
    assert {"visual.head.proj.weight", "text.projection.weight", "visual.trunk.conv_head.weight"} <= changed

    tokenizer = minilm_tokenizer()
    model = TaggingModel(lite_config.pretrain.backbone, head.config, tokenizer)
    model.backbone.load_state_dict(weights)
    model.head.load_state_dict(head.state_dict())
    description = Description(
        name="test",
        backbone=lite_config.pretrain.backbone,
        head=head.config,
        preprocessing=lite_config.pretrain.preprocessing,
        default_threshold=0.5,
        provenance={},
    )
    save_bundle(tmp_path / "towers", description, model.state_dict(), tokenizer)
    bundle = load_bundle(tmp_path / "towers")

    # The bundle's frozen stages are those whose output is cached, so nothing is computed twice.
    computed = len(list((tmp_path / "cache").glob("*.npy")))
    prepared = prepare(lite_config, bundle.model.backbone, tmp_path / "cache")
    fitted = fit_head(lite_config.fit, bundle.model.head, prepared)
    threshold = choose_threshold(fitted, prepared)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == computed == 1
    assert all(parameter.isfinite().all() for parameter in fitted.parameters())
    assert 0.05 <= threshold <= 0.95


def test_missing_captions_file_is_reported(lite_config: TrainingConfig, tmp_path: Path) -> None:
    root = lite_config.data.root
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train2014").symlink_to(root / "train2014")
    instances = "annotations/instances_train2014.json"
    (tmp_path / instances).write_bytes((root / instances).read_bytes())
    config = lite_config.model_copy(update={"data": lite_config.data.model_copy(update={"root": tmp_path})})
    with pytest.raises(DataError, match=r"captions_train2014\.json"):
        pretrain(config, tmp_path / "cache")
