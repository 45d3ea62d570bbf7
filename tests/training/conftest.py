"""A COCO folder of 24 generated photographs, and towers small enough to train within a test."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageDraw

from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.bundle_files import read_files
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import Description
from sigrl.training import cli
from sigrl.training.backbones.initialisation import load_efficientnet_lite, minilm_tokenizer
from sigrl.training.bundles import finishing
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.bundled.config import (
    DataConfig,
    FitConfig,
    PretrainConfig,
    TrainingConfig,
    load_config,
)

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
COLOURS = {
    "person": "red",
    "dog": "green",
    "car": "blue",
    "chair": "yellow",
    "handbag": "magenta",
    "dining table": "cyan",
    "cat": "white",
    "wine glass": "orange",
}
PHOTOGRAPHS = 24


def write_split(root: Path, split: str, seed: int) -> None:
    """Draws half of the labels into each photograph, each label as a square of its own colour and
    position."""
    random = np.random.RandomState(seed)
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, annotations, captions = [], [], []
    for number in range(PHOTOGRAPHS):
        image = Image.new("RGB", (96, 64), tuple(random.randint(0, 60, 3).tolist()))
        draw = ImageDraw.Draw(image)
        present = [name for name in COLOURS if random.rand() < 0.5]
        for name in present:
            place = list(COLOURS).index(name)
            x, y = 24 * (place % 4), 32 * (place // 4)
            draw.rectangle((x + 2, y + 2, x + 21, y + 29), fill=COLOURS[name])
            category = 10 * (place + 1)
            annotations.append({"image_id": number + 100, "category_id": category})
        name = f"{split}_{number:03}.png"
        image.save(root / split / name)
        images.append({"id": number + 100, "file_name": name})
        text = "A photo of " + " and ".join(f"a {one}" for one in present or ["wall"])
        captions.append({"image_id": number + 100, "caption": text})
    categories = [{"id": 10 * (place + 1), "name": name} for place, name in enumerate(COLOURS)]
    instances = {"images": images, "categories": categories, "annotations": annotations}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(instances))
    (root / "annotations" / f"captions_{split}.json").write_text(json.dumps({"annotations": captions}))


@pytest.fixture
def graphs() -> None:
    """For tests that look at the graphs of a new bundle, which take seconds to make."""


@pytest.fixture(autouse=True)
def _graphs_only_where_they_are_looked_at(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "graphs" not in request.fixturenames:
        monkeypatch.setattr(finishing, "with_graphs", read_files)


@pytest.fixture(scope="session")
def coco_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits of 24 photographs. Shared by all tests: do not change it."""
    root = tmp_path_factory.mktemp("coco")
    write_split(root, "train2014", seed=0)
    write_split(root, "val2014", seed=1)
    names = [*COLOURS, "kitten", "cats", "red wine glass", *(f"thing {number}" for number in range(40))]
    (root / "names.txt").write_text("\n".join(names))
    return root


@pytest.fixture(scope="session")
def nuswide_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated data in NUS-WIDE's layout. Shared by all tests: do not change it."""
    pytest.importorskip("h5py", reason="the extra `nuswide` is not installed")
    from nuswide_files import write_dataset

    root = tmp_path_factory.mktemp("nuswide")
    write_dataset(root)
    return root


@pytest.fixture(scope="session")
def config(coco_root: Path, tiny_description: Description, cache: Path) -> TrainingConfig:
    """A few steps of everything, with `cat` and `wine glass` hidden."""
    return TrainingConfig(
        cache=cache,
        data=DataConfig(
            root=coco_root,
            hidden_labels=("cat", "wine glass"),
            other_names={"cat": ("kitten",)},
            label_lists=(coco_root / "names.txt",),
        ),
        pretrain=PretrainConfig(
            backbone=tiny_description.backbone,
            preprocessing=tiny_description.preprocessing,
            frozen_blocks=3,
        ),
        fit=FitConfig(head=HeadConfig(top_k=2), epochs=2, batch_size=8, distilled_labels=8),
        threads=1,
    )


@pytest.fixture(scope="session")
def lite_config(config: TrainingConfig) -> TrainingConfig:
    """The bundled towers at 64 pixels, for the tests that have the extra `pretrain`."""
    shipped = load_config(CONFIGS / "bundled_unseen.yaml").pretrain
    vision = shipped.backbone.vision | {"image_size": 64}
    # Principal components of a few texts; there are at most as many as texts.
    backbone = shipped.backbone.model_copy(update={"vision": vision, "embed_dim": 32})
    settings = shipped.model_copy(
        update={
            "backbone": backbone,
            "preprocessing": shipped.preprocessing.model_copy(update={"image_size": 64}),
            "epochs": 1,
            "batch_size": 8,
            "distilled_labels": 8,
        }
    )
    return config.model_copy(update={"pretrain": settings})


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory, config: TrainingConfig) -> Path:
    """`config` as a file; JSON is valid YAML."""
    path = tmp_path_factory.mktemp("configuration") / "tiny.yaml"
    path.write_text(config.model_dump_json(indent=2))
    return path


@pytest.fixture(scope="session")
def towers(
    tmp_path_factory: pytest.TempPathFactory, tiny_description: Description, tokenizer_definition: bytes
) -> Path:
    """A bundle as `pretrain` writes it for `config`: an `mkt` head on random towers. Do not change it."""
    provenance = {**tiny_description.provenance, "hidden_labels": ["cat", "wine glass"]}
    changes = {"head": HeadConfig(kind="mkt", top_k=2), "provenance": provenance}
    description = tiny_description.model_copy(update=changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TaggingModel(description.backbone, description.head, tokenizer_definition)
    directory = tmp_path_factory.mktemp("bundles") / "towers"
    save_bundle(directory, description, model.state_dict(), tokenizer_definition)
    return directory


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of the shared photographs, computed once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def pretrain_packages() -> None:
    """Skips tests that start from registry packages if the extra `pretrain` is not installed."""
    try:
        minilm_tokenizer()
        for name in ("tf_efficientnet_lite0", "tf_efficientnet_lite2"):
            load_efficientnet_lite(timm.create_model(name, num_classes=0), name)
    except DataError as error:
        pytest.skip(str(error))


@pytest.fixture
def sigrl_train(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`sigrl_train(*arguments)` runs the command in this process and returns (status, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sigrl-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


@pytest.fixture
def refused(sigrl_train: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """`refused(*arguments)` runs the command, which must end with an error of one line, and returns the
    line."""

    def call(*arguments: object) -> str:
        status, out, err = sigrl_train(*arguments)
        assert status == 2
        assert "Traceback" not in out
        assert len(err.splitlines()) == 1, err
        assert err.startswith("sigrl-train: ")
        return err

    return call
