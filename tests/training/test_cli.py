"""`sigrl-train` as users see it: commands in sequence, and one line for errors that they can fix."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from sigrl.model.bundle import load_bundle
from sigrl.model.config import HeadConfig
from sigrl.training.data.coco import load_coco
from sigrl.training.tasks.bundled import ablate
from sigrl.training.tasks.bundled.config import TrainingConfig

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.fixture(scope="module")
def labels(coco_root: Path) -> torch.Tensor:
    return torch.from_numpy(load_coco(coco_root, "val2014").labels)


def test_fit_then_evaluate_and_record(sigrl_train, config_file: Path, towers: Path, tmp_path: Path) -> None:
    run, report, recorded = (
        tmp_path / "run",
        tmp_path / "reports" / "report.json",
        tmp_path / "recorded",
    )
    common = ("--config", config_file)
    status, out, _ = sigrl_train("fit", *common, "--start", towers, "-o", run, "--seed", 3)
    assert status == 0
    assert "default threshold" in out
    fitted = run / "bundle"
    assert f"SIGRL_CHECKPOINT={fitted} sigrl serve" in out
    manifest = load_bundle(fitted).manifest
    assert manifest.head.kind == "sigrl"
    assert manifest.head.context_labels == ("person", "dog", "car", "chair", "handbag", "dining table")
    assert manifest.provenance["hidden_labels"] == ["cat", "wine glass"]
    assert manifest.provenance["commands"] == ["sigrl-train fit"]
    assert manifest.provenance["configuration"]["fit"]["seed"] == 3

    status, out, _ = sigrl_train("evaluate", fitted, *common, "--report", report, "--record", recorded)
    assert status == 0
    assert "24 photographs" in out
    measured = json.loads(report.read_text())
    assert measured["photographs"] == 24
    kept = load_bundle(recorded)
    general = measured.pop("evaluation")
    assert general["photographs"] == 24
    # Photographs and their paths are not part of a bundle.
    assert kept.manifest.provenance["metrics"] == measured
    assert kept.manifest.head == manifest.head
    for name, tensor in load_bundle(fitted).model.state_dict().items():
        torch.testing.assert_close(kept.model.state_dict()[name], tensor, atol=1e-6, rtol=1e-2)


def test_ablate_command_writes_a_table_and_a_report(
    sigrl_train,
    config_file: Path,
    towers: Path,
    tmp_path: Path,
    monkeypatch,
    labels: torch.Tensor,
) -> None:
    monkeypatch.setattr(ablate, "bridge_scores", lambda *_: labels)
    monkeypatch.setattr(ablate, "HEADS", {"clip": {"kind": "clip"}})
    report = tmp_path / "rows.json"
    arguments = ("--config", config_file, "--seeds", "0,1", "--report", report)
    status, out, _ = sigrl_train("ablate", towers, *arguments)
    assert status == 0
    assert "untrained bridge" in out
    assert [row["head"] for row in json.loads(report.read_text())] == ["untrained bridge", "clip"]


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


def refused(sigrl_train, *arguments: object) -> str:
    status, out, err = sigrl_train(*arguments)
    assert status == 2
    assert "Traceback" not in out
    assert len(err.splitlines()) == 1, err
    assert err.startswith("sigrl-train: ")
    return err


def test_invalid_configuration_is_rejected(sigrl_train, towers: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "c.yaml", tmp_path / "output"
    arguments = ("fit", "--start", towers, "--config", path, "-o", output)
    assert "c.yaml" in refused(sigrl_train, *arguments)
    path.write_text("task: bundled\ndata: {rot: here}\nfit: 3\n")
    error = refused(sigrl_train, *arguments)
    assert "data.root: Field required" in error
    assert "data.rot: Extra inputs" in error
    path.write_text("data: [\n")
    assert "c.yaml is not YAML" in refused(sigrl_train, *arguments)
    path.write_bytes(b"\xff\xfe\x00")
    assert "c.yaml" in refused(sigrl_train, *arguments)
    assert not output.exists()


def test_missing_or_mismatched_towers_are_rejected(
    sigrl_train, towers: Path, config: TrainingConfig, config_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    common = ("--config", config_file, "-o", output)
    assert "manifest.json" in refused(sigrl_train, "fit", "--start", tmp_path, *common)
    assert "name the towers" in refused(sigrl_train, "fit", *common)
    other = config.pretrain.preprocessing.model_copy(update={"interpolation": "bilinear"})
    changed = config.model_copy(
        update={"pretrain": config.pretrain.model_copy(update={"preprocessing": other})}
    )
    path = tmp_path / "other.yaml"
    path.write_text(changed.model_dump_json())
    for command in (("fit", "--start", towers, "-o", output), ("ablate", towers)):
        assert "pretrain.preprocessing" in refused(sigrl_train, *command, "--config", path)


def test_existing_output_is_rejected_before_the_work(
    sigrl_train, towers: Path, config_file: Path, tmp_path: Path, monkeypatch
) -> None:
    for name in ("commands.towers.pretrain", "tasks.bundled.recipe.prepare", "commands.runs.evaluate"):
        monkeypatch.setattr(f"sigrl.training.{name}", None)
    (tmp_path / "bundle").mkdir()
    for arguments in (
        ("pretrain", "-o", tmp_path),
        ("fit", "--start", towers, "-o", tmp_path),
        ("evaluate", towers, "--record", tmp_path),
    ):
        assert "name a new directory" in refused(sigrl_train, *arguments, "--config", config_file)


def test_missing_data_is_reported(
    sigrl_train, towers: Path, config: TrainingConfig, coco_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"

    def write(**changes: object) -> tuple[object, ...]:
        data = config.data.model_copy(update=changes)
        path.write_text(config.model_copy(update={"data": data}).model_dump_json())
        return ("fit", "--start", towers, "--config", path, "-o", tmp_path / "output")

    assert "instances_train2014.json" in refused(sigrl_train, *write(root=tmp_path))
    assert "absent.txt" in refused(sigrl_train, *write(label_lists=(tmp_path / "absent.txt",)))
    assert "label_lists" in refused(sigrl_train, *write(label_lists=()))
    long = tmp_path / "long.txt"
    long.write_text("x" * 201)
    assert "200" in refused(sigrl_train, *write(label_lists=(long,)))

    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    shutil.copytree(coco_root / "train2014", root / "train2014")
    (root / "train2014" / "broken.png").write_bytes(b"not a photograph")
    instances = json.loads((coco_root / "annotations" / "instances_train2014.json").read_text())
    instances["images"][5]["file_name"] = "broken.png"
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(instances))
    error = refused(sigrl_train, *write(root=root))
    assert "broken.png cannot be decoded" in error


def test_work_of_one_process_is_rejected_under_torchrun(
    sigrl_train, towers: Path, config_file: Path, coco_root: Path, tmp_path: Path, monkeypatch
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
        error = refused(sigrl_train, *command)
        assert f"2 processes were started (WORLD_SIZE), but {work}" in error
        assert "without torchrun" in error
    assert not output.exists()


def test_non_integer_seeds_are_rejected(sigrl_train, towers: Path, config_file: Path) -> None:
    error = refused(sigrl_train, "ablate", towers, "--config", config_file, "--seeds", "0,one")
    assert "whole numbers" in error


def test_check_counts_labels_and_reports_problems(
    sigrl_train, config: TrainingConfig, config_file: Path, coco_root: Path, tmp_path: Path
) -> None:
    status, out, _ = sigrl_train("check", "--config", config_file)
    assert status == 0
    assert "train2014: 24 photographs" in out
    assert "wine glass" in out

    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for name in ("train2014", "val2014"):
        (root / name).symlink_to(coco_root / name)
        content = json.loads((coco_root / "annotations" / f"instances_{name}.json").read_text())
        content["images"][3]["file_name"] = "gone.jpg"
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    path, report = tmp_path / "c.yaml", tmp_path / "report.json"
    data = config.data.model_copy(update={"root": root})
    path.write_text(config.model_copy(update={"data": data}).model_dump_json())
    status, out, _ = sigrl_train("check", "--config", path, "--report", report)
    assert status == 1
    assert f"{root / 'val2014' / 'gone.jpg'} is not there" in out
    assert json.loads(report.read_text())["train2014"]["problems"][0]["kind"] == "missing file"


def test_configuration_must_name_a_known_task(sigrl_train, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for content, message in (("loop: {}", "has no key `task`"), ("task: magic", "`task: magic` is none of")):
        path.write_text(content)
        error = refused(sigrl_train, "fit", "--config", path, "-o", tmp_path / "run")
        assert message in error
        assert "open_vocabulary" in error


def test_evaluate_works_with_the_images_of_any_task(
    sigrl_train, towers: Path, coco_root: Path, tmp_path: Path
) -> None:
    config, report, recorded = tmp_path / "c.yaml", tmp_path / "report.json", tmp_path / "recorded"
    config.write_text(
        json.dumps(
            {
                "task": "single_positive",
                "data": {"kind": "coco", "root": str(coco_root)},
                "start": str(towers),
                "tower": {"kind": "clip", "head": {"kind": "mkt", "form": "context"}},
                "loss": {"kind": "an"},
            }
        )
    )
    arguments = ("--config", config, "--report", report, "--record", recorded)
    status, out, _ = sigrl_train("evaluate", towers, *arguments)
    assert status == 0
    assert "handbag" in out
    measured = json.loads(report.read_text())
    assert {one["label"] for one in measured["per_label"]} >= {"person", "cat"}
    kept = load_bundle(recorded).manifest.provenance["metrics"]
    assert kept["at_3"] == measured["at_3"]
    assert "worst" not in kept
    names = tmp_path / "names.txt"
    names.write_text("cat\n\n person \n")
    status, out, _ = sigrl_train("evaluate", towers, *arguments[:4], "--labels", names)
    assert status == 0
    few = {one["label"]: one for one in json.loads(report.read_text())["per_label"]}
    assert few.keys() == {"cat", "person"}
    # In the context form a label's precision does not depend on the others.
    (cat,) = (one for one in measured["per_label"] if one["label"] == "cat")
    assert few["cat"]["average_precision"] == cat["average_precision"]
    names.write_text("yak")
    error = refused(sigrl_train, "evaluate", towers, *arguments[:4], "--labels", names)
    assert "no label 'yak'" in error
    status, out, _ = sigrl_train("check", "--config", config)
    assert status == 0
    assert "train: 24 photographs, where COCO 2014 with validation has 82,081" in " ".join(out.split())


def test_plain_clip_is_evaluated_on_the_unseen_labels_of_nuswide(
    sigrl_train, nuswide_root: Path, tokenizer_definition: bytes, tmp_path: Path
) -> None:
    """The sanity step of docs/reproduce.md, on generated data in NUS-WIDE's layout."""
    from nuswide_files import PHOTOGRAPHS, UNSEEN, write_start

    head = HeadConfig(kind="clip", form="published")
    clip, config, report = tmp_path / "clip", tmp_path / "nuswide.yaml", tmp_path / "report.json"
    write_start(clip, head, tokenizer_definition)
    shipped = (CONFIGS / "open_vocabulary" / "nuswide.yaml").read_text()
    config.write_text(shipped.replace("root: ../data/NUS_WIDE", f"root: {nuswide_root}"))
    labels = nuswide_root / "Concepts81.txt"
    arguments = ("--config", config, "--labels", labels, "--report", report)
    status, out, error = sigrl_train("evaluate", clip, *arguments)
    assert status == 0, error
    assert UNSEEN[0] in out
    measured = json.loads(report.read_text())
    assert measured["photographs"] == PHOTOGRAPHS
    assert [one["label"] for one in measured["per_label"]] == list(UNSEEN)


def test_report_command_requires_a_run(sigrl_train, tmp_path: Path) -> None:
    assert "has no run" in refused(sigrl_train, "report", tmp_path)


def test_init_fit_and_evaluate_work_on_own_images(
    sigrl_train, towers: Path, coco_root: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("sigrl.training.tasks.photographs.bundle.NAMES", 24)
    labels, config, run = tmp_path / "labels.csv", tmp_path / "mine.yaml", tmp_path / "run"
    names = sorted(path.name for path in (coco_root / "train2014").iterdir())
    rows = [f"{name},{'dog' if number % 2 else 'sky'}" for number, name in enumerate(names)]
    labels.write_text("\n".join(["image,positive", *rows]))

    status, out, _ = sigrl_train("init", coco_root / "train2014", labels, "-o", config)
    assert status == 0
    assert f"sigrl-train fit --config {config}" in out
    assert "already exists" in refused(sigrl_train, "init", coco_root, "-o", config)
    config.write_text(config.read_text().replace("\nloop:", "\nloop:\n  workers: 0"))
    status, _, err = sigrl_train("check", "--config", config)
    assert status == 0, err
    status, out, _ = sigrl_train("fit", "--config", config, "--start", towers, "-o", run, "--dry-run")
    assert status == 0
    assert "photographs: " in out
    assert not run.exists()
    status, out, _ = sigrl_train("fit", "--config", config, "--start", towers, "-o", run)
    assert status == 0
    assert f"SIGRL_CHECKPOINT={run / 'bundle'} SIGRL_VOCABULARY={run / 'vocabulary.json'}" in out
    assert (run / "report.html").is_file()
    assert load_bundle(run / "bundle").manifest.provenance["labels"]
