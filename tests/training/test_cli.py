"""`sigrl-train` as users see it: help, and one line for errors that they can fix."""

import json
import shutil
from pathlib import Path

import pytest

from sigrl.training.tasks.bundled.config import TrainingConfig

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("init",),
        ("check",),
        ("fit",),
        ("report",),
        ("evaluate",),
        ("pretrain",),
        ("ablate",),
        ("calibrate",),
    ],
)
def test_help_of_every_command_exits_with_zero(sigrl_train, command: tuple[str, ...]) -> None:
    status, out, _ = sigrl_train(*command, "--help")
    assert status == 0
    assert "Usage" in out


def test_invalid_configuration_is_rejected(refused, towers: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "c.yaml", tmp_path / "output"
    arguments = ("fit", "--start", towers, "--config", path, "-o", output)
    assert "c.yaml" in refused(*arguments)
    path.write_text("task: bundled\ndata: {rot: here}\nfit: 3\n")
    error = refused(*arguments)
    assert "data.root: Field required" in error
    assert "data.rot: Extra inputs" in error
    path.write_text("data: [\n")
    assert "c.yaml is not YAML" in refused(*arguments)
    path.write_bytes(b"\xff\xfe\x00")
    assert "c.yaml" in refused(*arguments)
    assert not output.exists()


def test_missing_or_mismatched_towers_are_rejected(
    refused, towers: Path, config: TrainingConfig, config_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    common = ("--config", config_file, "-o", output)
    assert "manifest.json" in refused("fit", "--start", tmp_path, *common)
    assert "name the towers" in refused("fit", *common)
    other = config.pretrain.preprocessing.model_copy(update={"interpolation": "bilinear"})
    changed = config.model_copy(
        update={"pretrain": config.pretrain.model_copy(update={"preprocessing": other})}
    )
    path = tmp_path / "other.yaml"
    path.write_text(changed.model_dump_json())
    for command in (("fit", "--start", towers, "-o", output), ("ablate", towers)):
        assert "pretrain.preprocessing" in refused(*command, "--config", path)


def test_existing_output_is_rejected_before_the_work(
    refused, towers: Path, config_file: Path, tmp_path: Path, monkeypatch
) -> None:
    for name in ("commands.towers.pretrain", "tasks.bundled.recipe.prepare", "commands.runs.evaluate"):
        monkeypatch.setattr(f"sigrl.training.{name}", None)
    (tmp_path / "bundle").mkdir()
    for arguments in (
        ("pretrain", "-o", tmp_path),
        ("fit", "--start", towers, "-o", tmp_path),
        ("evaluate", towers, "--record", tmp_path),
    ):
        assert "name a new directory" in refused(*arguments, "--config", config_file)


def test_missing_data_is_reported(
    refused, towers: Path, config: TrainingConfig, coco_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"

    def write(**changes: object) -> tuple[object, ...]:
        data = config.data.model_copy(update=changes)
        path.write_text(config.model_copy(update={"data": data}).model_dump_json())
        return ("fit", "--start", towers, "--config", path, "-o", tmp_path / "output")

    assert "instances_train2014.json" in refused(*write(root=tmp_path))
    assert "absent.txt" in refused(*write(label_lists=(tmp_path / "absent.txt",)))
    assert "label_lists" in refused(*write(label_lists=()))
    long = tmp_path / "long.txt"
    long.write_text("x" * 201)
    assert "200" in refused(*write(label_lists=(long,)))

    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    shutil.copytree(coco_root / "train2014", root / "train2014")
    (root / "train2014" / "broken.png").write_bytes(b"not a photograph")
    instances = json.loads((coco_root / "annotations" / "instances_train2014.json").read_text())
    instances["images"][5]["file_name"] = "broken.png"
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(instances))
    error = refused(*write(root=root))
    assert "broken.png cannot be decoded" in error


def test_work_of_one_process_is_rejected_under_torchrun(
    refused, towers: Path, config_file: Path, coco_root: Path, tmp_path: Path, monkeypatch
) -> None:
    """Each process would train everything, and write into the same directory. The environment is set as by
    torchrun."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    output, everyday = tmp_path / "output", CONFIGS / "everyday.yaml"
    for work, command in {
        "`task: bundled`": ("fit", "--start", towers, "--config", config_file, "-o", output),
        "`task: everyday`": ("fit", "--config", everyday, "-o", output),
        "`pretrain`": ("pretrain", "--config", config_file, "-o", output),
        "`ablate`": ("ablate", towers, "--config", config_file),
        "`distill`": ("distill", towers, coco_root / "train2014", "-o", output),
    }.items():
        error = refused(*command)
        assert f"2 processes were started (WORLD_SIZE), but {work}" in error
        assert "without torchrun" in error
    assert not output.exists()


def test_non_integer_seeds_are_rejected(refused, towers: Path, config_file: Path) -> None:
    error = refused("ablate", towers, "--config", config_file, "--seeds", "0,one")
    assert "whole numbers" in error


def test_configuration_must_name_a_known_task(refused, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for content, message in (("loop: {}", "has no key `task`"), ("task: magic", "`task: magic` is none of")):
        path.write_text(content)
        error = refused("fit", "--config", path, "-o", tmp_path / "run")
        assert message in error
        assert "open_vocabulary" in error


def test_report_command_requires_a_run(refused, tmp_path: Path) -> None:
    assert "has no run" in refused("report", tmp_path)
