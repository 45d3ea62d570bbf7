from pathlib import Path

import pytest
from pydantic import ValidationError

from sigrl.model.vocabulary import Vocabulary
from sigrl.training.tasks.bundled.config import load_config

CONFIGS = Path(__file__).parents[4] / "training" / "configs"
UNSEEN = {
    *("airplane", "train", "cat", "suitcase", "frisbee", "snowboard", "fork", "kite", "cake", "laptop"),
    *("couch", "wine glass", "umbrella", "skateboard", "traffic light"),
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("bundled*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    config = load_config(path)
    assert config.fit.head.form == "context"
    assert config.pretrain.preprocessing.image_size == config.pretrain.backbone.vision["image_size"]


def test_unseen_configuration_hides_the_agreed_coco_labels() -> None:
    config = load_config(CONFIGS / "bundled_unseen.yaml")
    assert set(config.data.hidden_labels) == UNSEEN
    coco = Vocabulary.load(CONFIGS.parents[1] / "service" / "vocabularies" / "coco80.json")
    assert set(coco.names) >= UNSEEN


def test_both_configurations_share_the_training_settings() -> None:
    bundled, unseen = (load_config(CONFIGS / f"{name}.yaml") for name in ("bundled", "bundled_unseen"))
    assert (bundled.pretrain, bundled.fit) == (unseen.pretrain, unseen.fit)
    assert bundled.data.hidden_labels == ()


def test_unknown_key_is_rejected_by_name(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text((CONFIGS / "bundled.yaml").read_text().replace("fit:", "fit:\n  learning_rat: 1"))
    with pytest.raises(ValidationError, match="learning_rat"):
        load_config(path)
