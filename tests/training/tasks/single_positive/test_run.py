"""Single positive on generated data: every loss trains, seeds repeat, and a kill changes nothing."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from fresh_processes import in_fresh_processes
from PIL import Image
from pydantic import ValidationError

from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.dataset import DataError, read_yaml
from sigrl.training.data.voc import CLASSES
from sigrl.training.loop import state as run_state
from sigrl.training.loop.state import read_state
from sigrl.training.losses.single_positive import LOSSES
from sigrl.training.measures.metrics import average_precision_of_thresholds
from sigrl.training.measures.results import read_results
from sigrl.training.tasks.catalogue import load_run
from sigrl.training.tasks.single_positive import run as single_positive
from sigrl.training.tasks.single_positive.config import SinglePositiveConfig
from sigrl.training.tasks.single_positive.data import (
    check_single_positive,
    held_out_photographs,
    load_single_positive,
)
from sigrl.training.tasks.single_positive.run import fit_single_positive

SHIPPED = Path(__file__).parents[4] / "training" / "configs" / "single_positive"
NEEDED = {
    "epr": {"expected_positives": 4},
    "role": {"expected_positives": 4},
    "em": {"entropy_weight": 0.1},
    "em_apl": {"entropy_weight": 0.1, "pseudo_label_weight": 0.5, "warmup_epochs": 1},
    "em_pl": {"entropy_weight": 0.1},
    "em_pl_asl": {"entropy_weight": 0.1},
}


def configured(coco_root: Path, bundle: Path, **changes: Any) -> SinglePositiveConfig:
    loop = {"epochs": 1, "batch_size": 4, "workers": 0, "log_every": 1, "save_every": 2}
    content = {
        "data": {"kind": "coco", "root": coco_root},
        "start": bundle,
        "tower": {"kind": "clip", "head": {"kind": "mkt", "form": "published", "top_k": 2}},
        "loss": {"kind": "an"},
        "learning_rate": 1e-3,
        "seeds": [0],
        "loop": loop | changes.pop("loop", {}),
    }
    return SinglePositiveConfig.model_validate(content | changes)


def logged(directory: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return lines


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_every_loss_trains_with_finite_values(
    coco_root: Path, towers: Path, tmp_path: Path, kind: str
) -> None:
    epochs = 2 if kind == "em_apl" else 1
    config = configured(
        coco_root, towers, loss={"kind": kind, **NEEDED.get(kind, {})}, loop={"epochs": epochs}
    )
    outcome = fit_single_positive(config, tmp_path)
    assert 0 < outcome.measured["test/mAP"] <= 100
    assert all(np.isfinite(line["loss"]) for line in logged(tmp_path) if "loss" in line)


def test_run_writes_a_bundle_that_reproduces_the_measured_result(
    coco_root: Path, towers: Path, tmp_path: Path
) -> None:
    config = configured(coco_root, towers, tower={"kind": "clip", "head": {"kind": "sigrl", "top_k": 2}})
    outcome = fit_single_positive(config, tmp_path)
    assert outcome.bundle == tmp_path / "bundle"
    results = read_results(tmp_path)
    assert results.measured == outcome.measured
    assert results.best_epoch == outcome.best_epoch == 0

    engine = TorchEngine.load(outcome.bundle, device="cpu", precision="float32")
    test = held_out_photographs(config)
    pixels = np.stack([read_photograph(path, engine.preprocessing) for path in test.image_paths])
    labels = engine.encode_labels(Vocabulary.from_names(test.label_names))
    scores = engine.score(engine.encode_images(pixels), labels)
    measured = average_precision_of_thresholds(scores, test.labels == 1).mean()
    # A bundle stores its weights in float16.
    assert measured == pytest.approx(outcome.measured["test/mAP"], abs=5)
    threshold = engine.default_threshold
    assert threshold == results.evaluations["test"].threshold


def test_seeds_are_reproducible_and_summarized(coco_root: Path, towers: Path, tmp_path: Path) -> None:
    config = configured(coco_root, towers, seeds=[0, 1], tower={"kind": "clip", "head": {"kind": "linear"}})
    outcome = fit_single_positive(config, tmp_path / "one")
    test = [outcome.measured[f"test/mAP, seed {seed}"] for seed in (0, 1)]
    assert outcome.measured["test/mAP"] == pytest.approx(np.mean(test))
    assert outcome.measured["test/mAP deviation"] == pytest.approx(np.std(test, ddof=1))
    runs = [logged(tmp_path / "one" / f"seed-{seed}") for seed in (0, 1)]
    assert runs[0] != runs[1]
    assert logged(tmp_path / "one") == runs[0]
    # A seed gives the same result alone in another directory as among other seeds.
    AcceleratorState._reset_state(True)
    alone = fit_single_positive(config.model_copy(update={"seeds": (1,)}), tmp_path / "other")
    assert alone.measured["test/mAP"] == test[1]
    assert logged(tmp_path / "other" / "seed-1") == runs[1]


@pytest.mark.parametrize("count", [2, 4, 6])
def test_killed_run_with_pseudo_labels_resumes_to_the_same_result(
    coco_root: Path, towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Kills a run between the epochs of AckTheUnknown's pseudo-labelling, and within them."""
    loss = {"kind": "em_apl", **NEEDED["em_apl"]}
    config = configured(coco_root, towers, loss=loss, loop={"epochs": 4})

    def killed() -> None:
        original, calls = os.replace, []

        def replace(source: Path, target: Path) -> None:
            original(source, target)
            calls.append(target)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(run_state.os, "replace", replace)
        fit_single_positive(config, tmp_path / "killed")

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    whole = fit_single_positive(config, tmp_path / "whole")
    resumed = fit_single_positive(config, tmp_path / "killed")
    assert whole == type(whole)(resumed.measured, resumed.best_epoch, whole.bundle, resumed.skipped)
    ours, theirs = (
        read_state(tmp_path / one / "seed-0" / "state.safetensors")[0] for one in ("killed", "whole")
    )
    assert (theirs["task/soft"] >= 0).any()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert logged(tmp_path / "killed" / "seed-0") == logged(tmp_path / "whole" / "seed-0")


@pytest.mark.parametrize("kind", ["em_apl", "role"])
def test_two_processes_give_the_same_pseudo_labels_and_weights_as_one(
    coco_root: Path, vit: Path, tmp_path: Path, kind: str
) -> None:
    config = configured(coco_root, vit, loss={"kind": kind, **NEEDED[kind]}, loop={"epochs": 3})
    one = fit_single_positive(config, tmp_path / "one")
    in_fresh_processes(2, fit_single_positive, config, tmp_path / "two")
    assert read_results(tmp_path / "two").measured == pytest.approx(one.measured, abs=3)
    ours, theirs = (
        read_state(tmp_path / directory / "seed-0" / "state.safetensors")[0] for directory in ("two", "one")
    )
    # Adam makes a full-length step even if a gradient is only rounding noise.
    for name, tensor in theirs.items():
        if name.startswith(("task/", "module/")):
            torch.testing.assert_close(ours[name], tensor, atol=2e-3, rtol=1e-2, msg=name)


def test_test_images_are_scored_once_per_seed(
    coco_root: Path, towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[tuple[Path, ...]] = []
    original = single_positive.map_photographs

    def counting(compute: Any, accelerator: Any, paths: tuple[Path, ...], *rest: Any, **named: Any) -> Any:
        scored.append(paths)
        return original(compute, accelerator, paths, *rest, **named)

    monkeypatch.setattr(single_positive, "map_photographs", counting)
    config = configured(coco_root, towers, seeds=[0, 1], loop={"epochs": 3})
    first = fit_single_positive(config, tmp_path)
    assert fit_single_positive(config, tmp_path) == first
    test = load_single_positive(config).test.image_paths
    assert scored.count(test) == 2
    # Once per epoch, and once for the threshold.
    validation = load_single_positive(config).splits.validation.image_paths
    assert scored.count(validation) == 2 * (3 + 1)


def test_file_locations_are_not_part_of_the_run_identity(
    coco_root: Path, towers: Path, tmp_path: Path
) -> None:
    first = fit_single_positive(configured(coco_root, towers), tmp_path / "run")
    (tmp_path / "elsewhere").symlink_to(coco_root)
    shutil.copytree(towers, tmp_path / "towers")
    AcceleratorState._reset_state(True)
    moved = configured(tmp_path / "elsewhere", tmp_path / "towers")
    assert fit_single_positive(moved, tmp_path / "run") == first


def test_directory_of_another_configuration_is_rejected(
    coco_root: Path, towers: Path, tmp_path: Path
) -> None:
    fit_single_positive(configured(coco_root, towers), tmp_path)
    with pytest.raises(DataError, match="has a run with another `task`"):
        fit_single_positive(configured(coco_root, towers, loss={"kind": "wan"}), tmp_path)


def test_published_draw_replaces_the_random_draw(coco_root: Path, towers: Path, tmp_path: Path) -> None:
    instances = json.loads((coco_root / "annotations" / "instances_train2014.json").read_text())
    last = {str(one["image_id"]): one["category_id"] for one in instances["annotations"]}
    (tmp_path / "draw.json").write_text(json.dumps(last))
    data = {"kind": "coco", "root": coco_root, "draw": tmp_path / "draw.json"}
    drawn = load_single_positive(configured(coco_root, towers, data=data))
    train = drawn.splits.train
    for image_id, row in zip(train.ids, train.labels, strict=True):
        (column,) = np.flatnonzero(row)
        assert 10 * (column + 1) == last[image_id]
    assert drawn.fingerprint != load_single_positive(configured(coco_root, towers)).fingerprint


@pytest.fixture(scope="session")
def voc_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits of 10 photographs of two colours. Shared by all tests: do not change it."""
    root = tmp_path_factory.mktemp("voc")
    main = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main.parents[1] / "JPEGImages").mkdir()
    for split in ("train", "val"):
        names = [f"2008_{split}{number}" for number in range(10)]
        for spelling in CLASSES:
            rows = {"dog": range(0, 10, 2), "cat": (0, 1, 3, 4, 6, 7, 9)}.get(spelling, ())
            lines = [f"{name} {1 if row in rows else -1}" for row, name in enumerate(names)]
            (main / f"{spelling}_{split}.txt").write_text("\n".join(lines))
        for row, name in enumerate(names):
            colour = (255 * (row % 2 == 0), 255 * (row % 3 < 2), 40)
            Image.new("RGB", (40, 50), colour).save(main.parents[1] / "JPEGImages" / f"{name}.jpg")
    return root


def test_voc_data_can_be_trained_on(voc_root: Path, towers: Path, tmp_path: Path) -> None:
    config = configured(voc_root, towers, data={"kind": "voc", "root": voc_root})
    outcome = fit_single_positive(config, tmp_path)
    assert outcome.measured["test/mAP"] > 0
    reports = check_single_positive(config)
    # The sixth of ten photographs is neither a dog nor a cat, and is left out.
    assert {name: report.photographs for name, report in reports.items()} == {
        "train": 7,
        "validation": 2,
        "test": 9,
    }


def test_bad_images_stop_the_run_or_are_skipped_in_every_part(
    voc_root: Path, towers: Path, tmp_path: Path
) -> None:
    root = tmp_path / "voc"
    shutil.copytree(voc_root, root)
    config = configured(root, towers, data={"kind": "voc", "root": root})
    before = load_single_positive(config)
    bad = before.splits.train.image_paths[2]
    bad.write_bytes(b"no photograph")
    before.test.image_paths[0].unlink()
    with pytest.raises(DataError, match=bad.name):
        fit_single_positive(config, tmp_path / "run")
    data = load_single_positive(config.model_copy(update={"bad_data": "skip"}))
    assert data.skipped == {"unreadable file": 1, "missing file": 1}
    assert data.splits.train.ids == tuple(one for one in before.splits.train.ids if one != bad.stem)
    assert data.splits.complete_train.ids == data.splits.train.ids
    kept = [row for row, one in enumerate(before.splits.train.ids) if one != bad.stem]
    np.testing.assert_array_equal(data.splits.train.labels, before.splits.train.labels[kept])
    assert len(data.test) == len(before.test) - 1
    assert len(check_single_positive(config)["train"].problems) == 1


def test_command_line_seed_and_start_override_the_config() -> None:
    run = load_run(SHIPPED / "voc.yaml", start=Path("elsewhere"), seed=8)
    assert run.config.seeds == (8,)
    assert run.config.start == Path("elsewhere")
    assert run.kind.fit is fit_single_positive


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_shipped_configurations_match_the_protocol(name: str) -> None:
    config = SinglePositiveConfig.model_validate(read_yaml(SHIPPED / f"{name}.yaml"))
    assert config.seeds == (0, 1, 8)
    assert (config.learning_rate, config.loop.epochs, config.loop.batch_size) == (1e-5, 10, 8)
    assert (config.loss.kind, config.loss.entropy_weight) == ("em_pl", {"voc": 0.2, "coco": 0.1}[name])
    assert config.teacher == config.start


def test_losses_shown_in_shipped_comments_are_valid() -> None:
    for name in ("voc", "coco"):
        text = (SHIPPED / f"{name}.yaml").read_text()
        shipped = read_yaml(SHIPPED / f"{name}.yaml")
        commented = [line for line in text.splitlines() if line.startswith(("# loss:", "# tower:"))]
        assert len(commented) == 8
        for line in commented:
            SinglePositiveConfig.model_validate(shipped | yaml.safe_load(line[2:]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": None}, "set `start`"),
        (
            {"start": None, "tower": {"kind": "timm"}, "loss": {"kind": "em_pl", "entropy_weight": 1}},
            "teacher",
        ),
        ({"loss": {"kind": "em_apl", **NEEDED["em_apl"]}}, "leaves no epoch"),
        ({"seeds": [1, 1]}, "has one seed twice"),
        ({"loop": {"seed": 3}}, "set `seeds` in place of `loop.seed`"),
    ],
)
def test_invalid_configurations_are_rejected_before_reading_data(
    coco_root: Path, towers: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        configured(coco_root, towers, **changes)
