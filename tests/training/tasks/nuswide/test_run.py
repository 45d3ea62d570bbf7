"""Open vocabulary on a data set in NUS-WIDE's layout: trained, tested, killed, resumed and served."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sigrl.model.bundle import load_bundle
from sigrl.model.config import HeadConfig, Preprocessing
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.batches import Draw
from sigrl.training.data.dataset import DataError
from sigrl.training.data.photographs import AugmentedPhotographs
from sigrl.training.loop.loop import BEST
from sigrl.training.loop.state import read_state
from sigrl.training.measures.metrics import average_precision_of_known
from sigrl.training.measures.results import Outcome, read_results
from sigrl.training.tasks.catalogue import load_run
from sigrl.training.tasks.nuswide.data import load_nuswide
from sigrl.training.tasks.nuswide.run import NusWideConfig, create_task, fit_nuswide

pytest.importorskip("h5py", reason="the extra `nuswide` is not installed")

from fresh_processes import in_fresh_processes
from nuswide_files import (
    PHOTOGRAPHS,
    SEEN,
    UNSEEN,
    changed,
    killed_at_write,
    score_files,
    write_dataset,
    write_start,
)

ROOT = Path(__file__).parents[4]
SHIPPED = ROOT / "training" / "configs" / "open_vocabulary" / "nuswide.yaml"


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, tokenizer_definition: bytes) -> Path:
    """A bundle as `import` writes it: towers and the clip head."""
    head = HeadConfig(kind="clip", form="published")
    return write_start(tmp_path_factory.mktemp("bundles") / "vit", head, tokenizer_definition)


@pytest.fixture
def config(nuswide_root: Path, start: Path) -> NusWideConfig:
    return NusWideConfig.model_validate(
        {
            "start": start,
            "root": nuswide_root,
            "held_out": 0.25,
            "head": {"form": "published", "top_k": 2},
            "frozen_layers": 2,
            "learning_rate": 1e-2,
            "warm_up_epochs": 1,
            "loop": {"epochs": 3, "batch_size": 4, "workers": 0, "log_every": 1, "save_every": 2},
        }
    )


def test_run_trains_evaluates_and_writes_a_bundle(config: NusWideConfig, tmp_path: Path) -> None:
    outcome = fit_nuswide(config, tmp_path)
    assert outcome.measured.keys() == {
        f"{kind}/{measure}"
        for kind in ("zsl", "gzsl")
        for measure in ("mAP", "F1@3", "P@3", "R@3", "F1@5", "P@5", "R@5")
    }
    assert json.loads((tmp_path / "results.json").read_text())["measured"] == outcome.measured
    evaluations = read_results(tmp_path).evaluations
    assert [label.label for label in evaluations["zsl"].per_label] == list(UNSEEN)
    assert [label.label for label in evaluations["gzsl"].per_label] == [*SEEN, *UNSEEN]
    for kind, found in evaluations.items():
        assert found.positive is not None
        assert found.positive.mean_average_precision == pytest.approx(outcome.measured[f"{kind}/mAP"])
        assert found.photographs == PHOTOGRAPHS
    assert evaluations["gzsl"].best
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(lines[0]["ranking"] + lines[0]["distillation"])
    assert sum("seen/mAP" in line for line in lines) == 3

    engine = TorchEngine.load(outcome.bundle, device="cpu", precision="float32")
    data = load_nuswide(config)
    vocabulary = engine.encode_labels(Vocabulary.from_names(data.test.label_names))
    pixels = np.stack([np.asarray(one) for one in _pixels(data.test.image_paths, start=config.start)])
    scores = engine.score(engine.encode_images(pixels), vocabulary)
    measured = average_precision_of_known(scores, data.test.labels).mean()
    # A bundle stores its weights in float16.
    assert measured == pytest.approx(outcome.measured["gzsl/mAP"], abs=5)


def _pixels(paths, start: Path):
    from sigrl.training.backbones.features import PhotographDataset

    data = PhotographDataset(paths, load_bundle(start).manifest.preprocessing)
    return [data[number] for number in range(len(data))]


@pytest.mark.parametrize(
    "head",
    [
        {"kind": "clip", "form": "published"},
        {"kind": "mkt", "form": "published", "top_k": 2},
        {"kind": "biam", "form": "published", "top_k": 2},
        {"kind": "biam", "form": "context", "top_k": 2},
        {"kind": "sigrl", "form": "context", "top_k": 2},
    ],
)
def test_every_head_trains_and_keeps_frozen_layers_unchanged(
    config: NusWideConfig, tmp_path: Path, head: dict[str, Any]
) -> None:
    outcome = fit_nuswide(
        changed(config, head=HeadConfig(**head), loop={"epochs": 1, "precision": "bfloat16"}), tmp_path
    )
    before, after = load_bundle(config.start).model.backbone, load_bundle(outcome.bundle).model.backbone
    moved = {
        name
        for name, tensor in after.state_dict().items()
        if not torch.equal(tensor, before.state_dict()[name])
    }
    assert {name for name in moved if "resblocks.2." in name or "resblocks.3." in name}
    frozen = ("text.", "visual.transformer.resblocks.0.", "visual.transformer.resblocks.1.", "visual.conv1")
    assert not {name for name in moved if name.startswith(frozen)}


def test_training_lowers_the_loss(config: NusWideConfig, tmp_path: Path) -> None:
    fit_nuswide(changed(config, loop={"epochs": 12}), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["ranking"] for line in lines if "ranking" in line]
    assert np.mean(losses[-6:]) < np.mean(losses[:6])


def test_killed_run_resumes_to_the_same_result(
    config: NusWideConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit() -> None:
        fit_nuswide(config, tmp_path / "killed")

    arguments = (5, fit, monkeypatch)
    process = multiprocessing.get_context("fork").Process(target=killed_at_write, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    whole, resumed = fit_nuswide(config, tmp_path / "whole"), fit_nuswide(config, tmp_path / "killed")
    assert whole.measured == resumed.measured
    weights = [load_bundle(outcome.bundle).model.state_dict() for outcome in (whole, resumed)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_two_torchrun_processes_train_like_one(config: NusWideConfig, tmp_path: Path) -> None:
    """With the command from the documentation, on processors. The losses of 18 steps agree to a few
    roundings, and so do the weights, except for the bias of the attention's keys: its gradient is zero but
    for rounding noise, which Adam amplifies."""
    file = tmp_path / "c.yaml"
    file.write_text(changed(config, learning_rate=1e-3, loop={"epochs": 6}).model_dump_json())
    fit = (sys.executable, "-c", "from sigrl.training.cli import main; main()", "fit", "--config", file, "-o")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone")
    for command in ((*fit, tmp_path / "one"), (*torchrun, "--nproc-per-node", "2", *fit, tmp_path / "two")):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        finished = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert finished.returncode == 0, finished.stderr[-2000:]
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == 18 + 6
    for line, other in zip(one, two, strict=True):
        line.pop("images_per_second", None)
        other.pop("images_per_second", None)
        assert other == pytest.approx(line, abs=1e-5)
    weights, others = (read_state(tmp_path / name / BEST)[0] for name in ("one", "two"))
    for name, tensor in weights.items():
        if not name.endswith("attn.in_proj_bias"):
            torch.testing.assert_close(others[name], tensor, atol=1e-5, rtol=1e-4, msg=name)


def test_two_processes_give_the_same_scores_as_one(config: NusWideConfig) -> None:
    """For an odd number of photographs, more than a batch in each process."""
    paths = (load_nuswide(config).test.image_paths * 7)[:135]
    expected = score_files(config, paths)
    assert expected.shape == (135, 4)
    for scores in in_fresh_processes(2, score_files, config, paths):
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_finished_run_returns_its_results_again(config: NusWideConfig, tmp_path: Path) -> None:
    first: Outcome = fit_nuswide(changed(config, loop={"epochs": 1}), tmp_path)
    assert fit_nuswide(changed(config, loop={"epochs": 1}), tmp_path) == first


def test_corrupt_and_missing_images_stop_or_are_skipped(config: NusWideConfig, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_dataset(root)
    (root / "Flickr" / "colour" / "0000_0.jpg").write_bytes(b"\xff\xd8 cut off")
    (root / "Flickr" / "colour" / "0003_1.jpg").unlink()
    broken = changed(config, root=root)
    with pytest.raises(DataError, match=r"Flickr/colour/0000_0\.jpg"):
        fit_nuswide(broken, tmp_path / "run")
    data = load_nuswide(changed(broken, bad_data="skip"))
    assert data.skipped == {"unreadable file": 1, "missing file": 1}
    assert len(data.test) == PHOTOGRAPHS - 1
    # If files are not decoded first, training reports the one that it cannot read.
    unread = load_nuswide(changed(broken, bad_data="skip", check="exists"))
    assert unread.skipped == {"missing file": 1}
    task, _ = create_task(broken, unread, load_bundle(broken.start))
    with pytest.raises(DataError, match=r"0000_0\.jpg cannot be decoded"):
        _ = [task.train_data[Draw(number, 0)] for number in range(len(unread.train))]


def test_held_out_images_are_not_used_for_training(config: NusWideConfig) -> None:
    data = load_nuswide(config)
    assert set(data.train.ids or ()).isdisjoint(data.held_out.ids or ())
    assert len(data.held_out) == round(0.25 * (len(data.train) + len(data.held_out)))
    assert (data.train.labels == 1).any(axis=1).all()


def test_augmentation_depends_only_on_the_draw_seed(config: NusWideConfig) -> None:
    data = AugmentedPhotographs(load_nuswide(config).train, Preprocessing(image_size=32))
    one, again, other = (data[Draw(0, seed)][0] for seed in (1, 1, 2))
    assert one.shape == (3, 32, 32)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_shipped_configuration_matches_the_protocol() -> None:
    shipped = load_run(SHIPPED).config
    assert shipped.model_copy(update={"loop": shipped.loop.model_copy(update={"precision": "float32"})}) == (
        NusWideConfig(start=shipped.start, root=shipped.root)
    )


def test_unknown_key_is_reported_by_name(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(SHIPPED.read_text().replace("epochs:", "epoch:"))
    with pytest.raises(ValidationError, match="epoch"):
        load_run(tmp_path / "wrong.yaml")
