"""Folders of four generated data sets with photographs of 32 pixels, and matching towers."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sigrl.model.bundle import TaggingModel
from sigrl.model.config import Preprocessing
from sigrl.training.backbones.cache_files import locked
from sigrl.training.tasks.everyday import frozen_features
from sigrl.training.tasks.everyday.config import (
    Batch,
    EverydayConfig,
    GraphConfig,
    KnownWordsConfig,
    TeacherConfig,
    TrainingSettings,
    ViewsConfig,
)
from sigrl.training.tasks.everyday.start import Start

LABELS = [
    *("person", {"name": "man", "parent": "person"}, "animal", {"name": "dog", "parent": "animal"}),
    *({"name": "puppy", "parent": "dog"}, {"name": "cat", "parent": "animal", "synonyms": ["kitty"]}),
    *("vehicle", {"name": "car", "parent": "vehicle"}, {"name": "airplane", "parent": "vehicle"}),
    *("kitchen", "forest", "hot dog", "tree"),
]
NAMES = [label if isinstance(label, str) else label["name"] for label in LABELS]
COCO = {1: "person", 3: "car", 5: "airplane", 17: "cat", 18: "dog"}
DENSE = [
    ("D0", "train", ["person", "man", "tree"], ["car"], "Mike0429/COMP5329DeepLearningA2_ViT", "data/0.jpg"),
    ("D1", "train", ["animal", "cat"], [], "Sisso16/ssn_pytorch", "a/1.jpg"),
    ("D2", "train", ["vehicle", "airplane"], [], "Sisso16/ssn_pytorch", "a/2.jpg"),
    ("D3", "train", ["kitchen", "person"], [], "Sisso16/ssn_pytorch", "a/3.jpg"),
    ("D4", "val", ["tree", "forest"], [], "Sisso16/ssn_pytorch", "a/4.jpg"),
    ("Y5", "val", ["tree"], [], "Sisso16/ssn_pytorch", "a/5.jpg"),
    *(
        (f"T{n}", "test", labels, [], "Sisso16/ssn_pytorch", f"t/{n}.jpg")
        for n, labels in enumerate(3 * [["vehicle", "airplane"], ["animal", "dog"]])
    ),
]


def photograph(path: Path, seed: int) -> None:
    """A unique photograph of 8 x 8 random patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patches).resize((32, 32), Image.Resampling.BILINEAR).save(path, quality=95)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """`everyday`, `coco`, `course` and `scenes`, with lists and a vocabulary beside them."""
    root = tmp_path / "data"
    lines = []
    for number, (name, split, labels, unsure, source, place) in enumerate(DENSE):
        photograph(root / "everyday" / "photographs" / f"{name}.jpg", number)
        line = {"id": name, "split": split, "labels": labels, "unsure": unsure}
        lines.append(json.dumps({**line, "source": source, "path": place}))
    (root / "everyday" / "labels.jsonl").write_text("\n".join(lines) + "\n")
    (root / "everyday" / "names.txt").write_text("\n".join(NAMES) + "\n")
    for split, first in (("train2014", 100), ("val2014", 120)):
        _write_coco(root / "coco", split, first)
    rows = ["ImageID,Labels,Caption"]
    for number in range(8):
        photograph(root / "course" / "data" / f"{number}.jpg", 200 + number)
        rows.append(f'{number}.jpg,{"1 18" if number % 2 else "5"},"A man walks his dog, number {number}"')
    (root / "course" / "train.csv").write_text("\n".join(rows) + "\n")
    rows = ["ImageID,Caption"]
    for number in range(8, 12):
        photograph(root / "course" / "data" / f"{number}.jpg", 200 + number)
        rows.append(f'{number}.jpg,"An airplane above a red bridge"')
    (root / "course" / "test.csv").write_text("\n".join(rows) + "\n")
    for number in range(6):
        name = ("kitchen", "forest", "old_bridge")[number % 3]
        photograph(root / "scenes" / "data" / "train" / name / f"{number}.jpg", 300 + number)
    (root / "words.txt").write_text("bridge\nwing\ncloud\nairplanes\ncat tree\n")
    (root / "vocabulary.json").write_text(json.dumps({"name": "tiny", "labels": LABELS}))
    return root


def _write_coco(root: Path, split: str, first: int) -> None:
    images, annotations, captions = [], [], []
    for number in range(first, first + 6):
        photograph(root / split / f"{number}.jpg", number)
        images.append({"id": number, "file_name": f"{number}.jpg"})
        labels = (17,) if number % 2 else (1, 5)
        annotations += [{"image_id": number, "category_id": label} for label in labels]
        text = "a cat under a bridge" if number % 2 else "a man looks at a plane"
        captions.append({"image_id": number, "caption": text})
    categories = [{"id": number, "name": name} for number, name in COCO.items()]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    (root / "annotations" / f"captions_{split}.json").write_text(json.dumps({"annotations": captions}))


@pytest.fixture
def everyday(folders: Path) -> Callable[..., EverydayConfig]:
    """`everyday(**changes)`: a run of few steps over `folders`."""
    common = {
        "everyday": folders / "everyday",
        "coco": folders / "coco",
        "sources": {"coco_course": folders / "course", "scenes": folders / "scenes"},
        "drawn": 0,
        "vocabulary": folders / "vocabulary.json",
        "label_lists": (folders / "words.txt",),
        "preprocessing": Preprocessing(image_size=64, resize="squash"),
        "teacher": TeacherConfig(members=2, steps=3, batch_size=2, hidden=8),
        "training": TrainingSettings(
            tuned_blocks=1,
            steps=4,
            batch=Batch(dense=2, others=4, words=3, random_words=2),
            hidden=8,
            save_every=2,
        ),
        "views": (
            ViewsConfig(count=2, steps=2),
            ViewsConfig(count=2, steps=1, coco_weight=2, image_size=128, class_scale=2),
        ),
        "known_words": KnownWordsConfig(dense=1, others=1),
        "graph": GraphConfig(rank=4, teacher_steps=3, steps=3),
        "background": {"coco_course": 5, "scenes": 100, "houses": 3},
        "cache": folders / "cache",
        "threads": 1,
    }
    return lambda **changes: EverydayConfig.model_validate(common | changes)


@pytest.fixture
def start(tiny_model: TaggingModel, tokenizer_definition: bytes) -> Start:
    """Random towers and a random classifier of ImageNet's classes."""
    backbone = copy.deepcopy(tiny_model.backbone)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1000, backbone.visual.trunk.num_features, generator=generator)
    return Start(backbone, (weight, torch.zeros(1000)), tokenizer_definition)


@pytest.fixture(autouse=True)
def _in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO takes seconds to compile a tower, so only one test uses it."""
    monkeypatch.setattr(frozen_features, "fastest", lambda tower, _: frozen_features.torch_tower(tower))


@pytest.fixture
def another_run_finishes(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """`another_run_finishes(module, cache)` removes the arrays in `cache`. They are back when `module` holds
    the lock, as if another run had finished them after `module` had looked."""

    def prepare(module: str, cache: Path) -> None:
        finished = {path: path.read_bytes() for path in cache.glob("*.npy")}
        for path in finished:
            path.unlink()

        @contextmanager
        def locked_later(path: Path) -> Iterator[None]:
            for array, content in finished.items():
                array.write_bytes(content)
            with locked(path):
                yield

        monkeypatch.setattr(f"sigrl.training.tasks.everyday.{module}.locked", locked_later)

    return prepare
