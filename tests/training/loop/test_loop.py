"""The loop on a task of a few numbers: killed at any moment, in two processes, in several passes, to its
end."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tiny_run import PHOTOGRAPHS, TinyTask, kill, run

from sigrl.training.data.dataset import DataError
from sigrl.training.loop import state as run_state
from sigrl.training.loop.loop import BEST, STATE
from sigrl.training.loop.state import read_state, write_state
from sigrl.training.loop.task import LoopConfig

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "uninterrupted"
    run(directory)
    AcceleratorState._reset_state(True)
    return directory


def in_a_process(function: Callable[[], object]) -> int | None:
    """Exit status of a forked process: minus the signal if one killed it."""
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    process.join(120)
    return process.exitcode


def assert_same(one: Path, other: Path) -> None:
    """Exactly equal weights, moments, averages, position, best weights and logged values except for the
    speed."""
    for name in (STATE, BEST):
        (ours, our_content), (theirs, their_content) = read_state(one / name), read_state(other / name)
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            assert torch.equal(tensor, theirs[key]), key
        for content in (our_content, their_content):
            content.get("progress", {}).pop("log_bytes", None)
        assert our_content == their_content
    assert metrics(one) == metrics(other)


def metrics(directory: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return lines


def killed_at(moment: str, place: int, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs until `moment` has occurred `place` times, and then kills itself."""
    task = TinyTask(3)

    def kill_at_its_place(count: int) -> None:
        if count == place:
            kill()

    if moment == "step":
        task.on_step = kill_at_its_place
    elif moment == "evaluation":
        task.on_evaluate = kill_at_its_place
    else:
        counted = 0
        name, after = ("replace", moment == "state renamed")
        original = os.replace

        def replace(source: Path, target: Path) -> None:
            nonlocal counted
            if after:
                original(source, target)
            kill_at_its_place(counted)
            counted += 1
            if not after:
                original(source, target)

        monkeypatch.setattr(run_state.os, name, replace)
    run(directory, task)


@pytest.mark.parametrize(
    ("moment", "place"),
    [
        *(("step", place) for place in (0, 1, 2, 4, 8)),
        *(("evaluation", place) for place in (0, 1, 2)),
        *(("state written", place) for place in (0, 1, 2, 4)),
        *(("state renamed", place) for place in (0, 1, 2, 4)),
    ],
)
def test_run_killed_at_any_point_resumes_to_the_same_result(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, place: int
) -> None:
    status = in_a_process(lambda: killed_at(moment, place, tmp_path, monkeypatch))
    assert status == -signal.SIGKILL
    run(tmp_path)
    assert_same(uninterrupted, tmp_path)


def test_run_killed_repeatedly_resumes_to_the_same_result(uninterrupted: Path, tmp_path: Path) -> None:
    def slow() -> None:
        task = TinyTask(3)
        task.on_step = lambda _: time.sleep(0.05)
        run(tmp_path, task, workers=1)

    for lines in (1, 4, 7):
        process = multiprocessing.get_context("fork").Process(target=slow)
        process.start()
        path = tmp_path / "metrics.jsonl"
        while process.is_alive() and (not path.is_file() or len(path.read_text().splitlines()) < lines):
            time.sleep(0.01)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    run(tmp_path)
    assert_same(uninterrupted, tmp_path)


def test_finished_run_is_not_trained_again(uninterrupted: Path) -> None:
    task = TinyTask(3)
    before = (uninterrupted / STATE).stat().st_mtime_ns
    assert run(uninterrupted, task).finished
    assert task.steps == 0
    assert (uninterrupted / STATE).stat().st_mtime_ns == before
    best = load_file(uninterrupted / BEST)
    assert all(torch.equal(tensor, best[name]) for name, tensor in task.module.state_dict().items())


def test_two_torchrun_processes_give_the_same_result_as_one(uninterrupted: Path, tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    program = Path(__file__).parents[1] / "tiny_run.py"
    finished = subprocess.run(
        [sys.executable, *command, program, tmp_path],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-2000:]
    (ours, content), (theirs, expected) = (read_state(path / STATE) for path in (tmp_path, uninterrupted))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    assert content["progress"]["best"] == pytest.approx(expected["progress"]["best"], rel=1e-4)
    for one, other in zip(metrics(tmp_path), metrics(uninterrupted), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_gradient_accumulation_changes_results_only_by_rounding(uninterrupted: Path, tmp_path: Path) -> None:
    run(tmp_path, passes=4)
    ours, theirs = read_state(tmp_path / BEST)[0], read_state(uninterrupted / BEST)[0]
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-4, msg=name)


def test_worker_count_does_not_change_the_result(uninterrupted: Path, tmp_path: Path) -> None:
    run(tmp_path, workers=2)
    assert_same(uninterrupted, tmp_path)


def test_different_seed_gives_a_different_run(uninterrupted: Path, tmp_path: Path) -> None:
    run(tmp_path, seed=1)
    assert metrics(tmp_path)[0]["loss"] != metrics(uninterrupted)[0]["loss"]


def test_loss_decreases_and_log_lines_have_step_and_epoch(tmp_path: Path) -> None:
    run(tmp_path, epochs=20, averaging=None)
    lines = metrics(tmp_path)
    steps = PHOTOGRAPHS // 8
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 20 * steps
    assert losses[-1] < 0.5 * losses[0]
    assert [(line["step"], line["epoch"]) for line in lines if "score" in line] == [
        ((epoch + 1) * steps, epoch) for epoch in range(20)
    ]
    assert {"error", "learning_rate"} <= lines[0].keys()


def test_weights_of_the_best_epoch_are_kept(tmp_path: Path) -> None:
    task = TinyTask(3)
    task.scores = [1.0, 3.0, 2.0]
    progress = run(tmp_path, task)
    assert (progress.best, progress.best_epoch) == (3.0, 1)
    best, content = read_state(tmp_path / BEST)
    assert content["epoch"] == 1
    assert all(torch.equal(tensor, best[name]) for name, tensor in task.module.state_dict().items())
    assert not torch.equal(best["0.weight"], read_state(tmp_path / STATE)[0]["average/0.weight"])


def test_without_a_measure_the_last_epoch_is_the_best(tmp_path: Path) -> None:
    task = TinyTask(3)
    task.measure = "nothing it measures"
    assert run(tmp_path, task).best_epoch == 2


def test_patience_stops_a_run_that_does_not_improve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = TinyTask(9)
    task.scores = [2.0, math.nan, 1.0, 5.0]
    progress = run(tmp_path, task, epochs=9, patience=2)
    assert (progress.epoch, progress.best_epoch, progress.finished) == (3, 0, True)
    told = "stopped after epoch 3 of 9: score was best in epoch 1 (2.00) and not better in the 2 epochs since"
    assert told in capsys.readouterr().out
    run(tmp_path, epochs=9, patience=2)
    assert told in capsys.readouterr().out


def test_gradient_norm_is_logged_before_clipping(tmp_path: Path) -> None:
    run(tmp_path, clip_norm=1e-6, epochs=1)
    assert metrics(tmp_path)[0]["gradient_norm"] > 1e-6


def test_bfloat16_training_keeps_float32_weights(tmp_path: Path) -> None:
    task = TinyTask(1)
    seen = []
    task.module[2].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    run(tmp_path, task, epochs=1, precision="bfloat16")
    assert set(seen) == {torch.bfloat16}
    assert {tensor.dtype for tensor in read_state(tmp_path / STATE)[0].values()} == {torch.float32}


def test_tensorboard_files_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    run(tmp_path, epochs=1, tensorboard=True)
    assert any((tmp_path / "tensorboard").iterdir())


def test_directory_of_another_run_is_rejected(uninterrupted: Path) -> None:
    with pytest.raises(DataError, match="has a run with another `loop`: name a new directory"):
        run(uninterrupted, batch_size=4)


def test_damaged_state_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"state\.safetensors is not the state of a training run"):
        run(tmp_path)


def test_state_with_other_weights_is_rejected(uninterrupted: Path, tmp_path: Path) -> None:
    tensors, content = read_state(uninterrupted / STATE)
    tensors["module/0.weight"] = tensors["module/0.weight"][:2]
    write_state(tmp_path / STATE, tensors, content)
    with pytest.raises(DataError, match="saved weights do not fit this model"):
        run(tmp_path)


def test_nan_loss_stops_the_run(tmp_path: Path) -> None:
    task = TinyTask(3)
    with torch.no_grad():
        task.module[0].weight.fill_(torch.inf)
    with pytest.raises(DataError, match="at step 1: lower the learning rate"):
        run(tmp_path, task)


def test_too_few_images_for_a_batch_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="26 photographs do not fill a batch of 27"):
        run(tmp_path, batch_size=27)


def test_indivisible_batch_size_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a batch of 8 cannot be divided into 3 passes in 1 processes"):
        run(tmp_path, passes=3)


def test_run_identity_includes_all_settings_that_affect_results(uninterrupted: Path) -> None:
    """Except for settings that do not affect the result."""
    kept = read_state(uninterrupted / STATE)[1]["identity"]["loop"]
    assert LoopConfig.model_fields.keys() - kept.keys() == {
        "workers",
        "tensorboard",
        "log_every",
        "checkpointing",
    }
