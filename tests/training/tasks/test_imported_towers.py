"""`sigrl-train fit` on towers other than CLIP's ViT: CLIP's ResNet, SigLIP, ConvNeXt, FastViT and
ViTamin, with few weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from own_photographs import write_labels, write_photographs
from tiny_clips import RESNET, SIGLIP_VIT, register_tiny_siglip
from tiny_timm import FASTVIT, VITAMIN, register_fastvit_and_vitamin
from torch import Tensor

from sigrl.model.bundle import load_bundle
from sigrl.model.config import HeadConfig

pytest.importorskip("h5py", reason="the extra `nuswide` is not installed")

from nuswide_files import write_start

CONVNEXT = {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"}
TOWERS = {
    "resnet": RESNET,
    "siglip": SIGLIP_VIT,
    "convnext": CONVNEXT,
    "fastvit": FASTVIT,
    "vitamin": VITAMIN,
}
AFTER_BLOCKS = {
    "resnet": "visual.attnpool.",
    "siglip": ("visual.trunk.norm.", "visual.trunk.attn_pool."),
    "convnext": ("visual.trunk.head.", "visual.head."),
    "fastvit": "visual.trunk.head.",
    "vitamin": ("visual.trunk.norm.", "visual.trunk.fc_norm.", "visual.head."),
}
"""What is trained of each tower when all its blocks are frozen."""
Start = Callable[[str], Path]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, tokenizer_definition: bytes) -> Start:
    """From the name of a tower to a bundle with it, as `import` writes it."""
    register_tiny_siglip()
    register_fastvit_and_vitamin()
    made: dict[str, Path] = {}

    def bundle(tower: str) -> Path:
        if tower not in made:
            folder = tmp_path_factory.mktemp("bundles") / tower
            vision = TOWERS[tower]
            # open_clip's SigLIP has no projection: the width of its tower is that of the joint space.
            options = {"embed_dim": 32, "vision": vision}
            made[tower] = write_start(folder, HeadConfig(kind="clip"), tokenizer_definition, **options)
        return made[tower]

    return bundle


def visual(bundle: Path) -> dict[str, Tensor]:
    state = load_bundle(bundle).model.backbone.state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith("visual.")}


def moved(before: Path, after: Path) -> set[str]:
    """The names of the image tower's tensors that differ."""
    trained = visual(after)
    return {name for name, tensor in visual(before).items() if not torch.equal(tensor, trained[name])}


def fit(sigrl_train, config: dict[str, Any], folder: Path) -> list[dict[str, float]]:
    """Runs `fit` into `folder`/run; the lines of its `metrics.jsonl`."""
    file, loop = folder / "c.yaml", {"epochs": 1, "batch_size": 4, "workers": 0, "log_every": 1}
    file.write_text(json.dumps({"loop": loop, "learning_rate": 1e-2, "warm_up_epochs": 0, **config}))
    status, _, error = sigrl_train("fit", "--config", file, "-o", folder / "run")
    assert status == 0, error
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("frozen_layers", [10, -1])
@pytest.mark.parametrize("tower", TOWERS)
def test_open_vocabulary_fits_heads_on_every_tower(
    sigrl_train, nuswide_root: Path, start: Start, tmp_path: Path, tower: str, frozen_layers: int
) -> None:
    config = {
        "task": "open_vocabulary",
        "start": str(start(tower)),
        "root": str(nuswide_root),
        "held_out": 0.25,
        "head": {"kind": "sigrl", "form": "published", "top_k": 2},
        "frozen_layers": frozen_layers,
    }
    lines = fit(sigrl_train, config, tmp_path)
    # Student and teacher are equal at first: batch norms have the same statistics in both.
    assert lines[0]["distillation"] == 0
    changed = moved(start(tower), tmp_path / "run" / "bundle")
    assert any(name.startswith(AFTER_BLOCKS[tower]) for name in changed)
    assert any(not name.startswith(AFTER_BLOCKS[tower]) for name in changed) == (frozen_layers == -1)
    assert not any("running" in name for name in changed)


@pytest.mark.parametrize("mode", ["frozen", "tuned"])
@pytest.mark.parametrize("tower", TOWERS)
def test_own_photographs_fit_every_tower(
    sigrl_train, start: Start, tmp_path: Path, tower: str, mode: str
) -> None:
    lines = write_photographs(tmp_path / "photographs")
    config = {
        "task": "photographs",
        "start": str(start(tower)),
        "photographs": str(tmp_path / "photographs"),
        "labels": str(write_labels(tmp_path / "labels.jsonl", lines)),
        "validation_share": 0.3,
        "tower": mode,
    }
    fit(sigrl_train, config, tmp_path)
    changed = moved(start(tower), tmp_path / "run" / "bundle")
    if mode == "frozen":
        assert all(name.startswith("visual.head.") for name in changed)
        assert bool(changed) == (TOWERS[tower].get("timm_proj") == "linear")
    else:
        assert any(not name.startswith(AFTER_BLOCKS[tower]) for name in changed)
    assert not any("running" in name for name in changed)
