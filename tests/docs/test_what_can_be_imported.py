"""docs/models.md names every architecture of open_clip that cannot be imported, and only those."""

import re
from pathlib import Path
from typing import Any

import open_clip
import pytest
from timm.layers import weight_init
from torch import nn

from sigrl.training.backbones import open_clip_source
from sigrl.training.backbones.open_clip_source import find_source
from sigrl.training.backbones.weight_files import WeightsError

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.fixture(autouse=True)
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds one block of each of open_clip's transformers, and no first weights: both take time."""

    def shallow(name: str) -> dict[str, Any]:
        config: dict[str, Any] = open_clip.get_model_config(name)
        for tower in (config["vision_cfg"], config["text_cfg"]):
            if isinstance(tower.get("layers"), int):
                tower["layers"] = 1
        return config

    monkeypatch.setattr(open_clip_source, "get_model_config", shallow)
    for name in ("trunc_normal_", "normal_", "kaiming_uniform_", "xavier_uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(weight_init, "_trunc_normal_", lambda tensor, *_, **__: tensor)


@pytest.fixture(scope="module")
def on_the_page() -> set[str]:
    section = (
        PAGE.read_text(encoding="utf-8").partition("## What cannot be imported")[2].partition("\n## ")[0]
    )
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}


def test_every_architecture_with_weights_can_be_imported(on_the_page: set[str]) -> None:
    tags = dict(open_clip.list_pretrained())
    assert len(tags) > 100
    assert {name for name, tag in tags.items() if not _imports(f"{name}/{tag}")} == set()
    assert not on_the_page & tags.keys()


def test_page_lists_architectures_that_cannot_be_imported(on_the_page: set[str], tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.touch()
    others = set(open_clip.list_models()) - dict(open_clip.list_pretrained()).keys()
    assert {name for name in others if not _imports(f"{name}/{file}")} == on_the_page


def _imports(name: str) -> bool:
    try:
        find_source(name)
    except WeightsError:
        return False
    return True
