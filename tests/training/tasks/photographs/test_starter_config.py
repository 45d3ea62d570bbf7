"""`init` writes a configuration that is valid as it is and explains every key."""

import json
from pathlib import Path

import pytest
from PIL import Image

from sigrl.training.data.dataset import DataError, read_yaml
from sigrl.training.loop.task import LoopConfig
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.starter_config import write_starter_config


def photographs(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def written(folder: Path, labels: Path | None, tmp_path: Path) -> tuple[PhotographsConfig, str, str]:
    output = tmp_path / "my.yaml"
    told = write_starter_config(folder, labels, output)
    return PhotographsConfig.model_validate(read_yaml(output)), output.read_text(), told


def test_starter_config_lists_the_labels_and_counts_of_a_file(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", "1.jpg", "2.jpg")
    labels = tmp_path / "labels.csv"
    labels.write_text("image,positive,negative\n1.jpg,dog;yes,cat\n2.jpg,cat,dog;yes\n")
    config, text, told = written(folder, labels, tmp_path)
    assert (config.photographs, config.labels, config.complete) == (folder, labels, False)
    assert [label.name for label in config.vocabulary] == ["cat", "dog", "yes"]
    assert "- dog  # applies to 1, not to 1" in text
    assert config.loss is not None
    assert config.loss.kind == "iu"
    assert f"sigrl-train fit --config {tmp_path / 'my.yaml'} -o runs/my" in told
    assert "SIGRL_CHECKPOINT=runs/my/bundle" in told


def test_label_file_with_positives_only_is_not_complete(tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"image": "1.jpg", "positive": ["dog: wet", "#1"]}\n{"image": "2.jpg"}')
    config, _, _ = written(photographs(tmp_path / "photos", "1.jpg", "2.jpg"), labels, tmp_path)
    assert config.loss is not None
    assert (config.complete, config.loss.kind) == (False, "an_ls")
    assert [label.name for label in config.vocabulary] == ["#1", "dog: wet"]


def test_class_folders_and_coco_files_are_complete(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", "dog/1.jpg", "cat/2.jpg")
    config, _, _ = written(folder, None, tmp_path)
    assert (config.complete, config.labels) == (True, None)
    (tmp_path / "my.yaml").unlink()
    coco = tmp_path / "instances.json"
    images = [{"id": 1, "file_name": "dog/1.jpg"}, {"id": 2, "file_name": "cat/2.jpg"}]
    categories = [{"id": 5, "name": "dog"}, {"id": 6, "name": "owl"}]
    annotations = [{"image_id": 1, "category_id": 5}]
    coco.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    config, text, _ = written(folder, coco, tmp_path)
    assert config.complete
    assert [label.name for label in config.vocabulary] == ["dog", "owl"]
    assert "- owl  # applies to 0, not to 2: add photographs of it, or remove it" in text


def test_every_key_is_present_with_a_comment(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", "dog/1.jpg", "cat/2.jpg")
    _, text, _ = written(folder, None, tmp_path)
    lines = text.splitlines()
    for key in PhotographsConfig.model_fields.keys() - {"task", "shards", "loop"}:
        (line,) = [line for line in lines if line.removeprefix("# ").startswith(f"{key}:")]
        assert "#" in line or lines[lines.index(line) - 1].startswith("#"), key
    assert {"epochs", "batch_size", "patience", "seed"} <= LoopConfig.model_fields.keys()
    assert max(map(len, lines)) <= 115


def test_existing_config_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("mine")
    with pytest.raises(DataError, match=r"my\.yaml already exists"):
        write_starter_config(tmp_path, None, tmp_path / "my.yaml")
    assert (tmp_path / "my.yaml").read_text() == "mine"


def test_folder_without_labels_is_reported(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="has no sub-folders with photographs: name the file"):
        write_starter_config(tmp_path / "photos", None, tmp_path / "my.yaml")
    assert not (tmp_path / "my.yaml").exists()
