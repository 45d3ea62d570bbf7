"""A task that works between epochs: its tensors are part of the run's state and survive a kill."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_run import TinyTask, kill, run
from torch import Tensor, nn

from sigrl.training.loop import state as run_state
from sigrl.training.loop.loop import BEST, STATE
from sigrl.training.loop.state import read_state
from sigrl.training.loop.task import EpochTask, StepOutput


class Guessing(TinyTask):
    """Learns from pseudo-labels that it makes after each epoch; `opened` and `closed` list the epochs."""

    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        self.guesses = torch.zeros(len(self.train_data), 3)
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.on_close: Callable[[int], None] = lambda _: None

    def training_step(self, module: nn.Module, batch: tuple[Tensor, Tensor]) -> StepOutput:
        output = super().training_step(module, batch)
        pull = (module(batch[0]).mean(0) - self.guesses.mean(0)).square().mean()
        return StepOutput(output.loss + pull, {"pull": pull})

    def open_epoch(self, epoch: int) -> None:
        self.opened.append(epoch)

    def close_epoch(self, epoch: int, accelerator: Accelerator) -> None:  # noqa: ARG002
        self.on_close(epoch)
        assert not self.module.training
        assert not torch.is_grad_enabled()
        self.closed.append(epoch)
        self.guesses = self.guesses + self.module(self.train_data.inputs) / 2

    def state(self) -> Mapping[str, Tensor]:
        return {"guesses": self.guesses}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        self.guesses = tensors["guesses"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "uninterrupted"
    run(directory, Guessing(3))
    AcceleratorState._reset_state(True)
    return directory


def test_task_epoch_hooks_are_called_once_per_epoch(tmp_path: Path) -> None:
    task = Guessing(3)
    assert isinstance(task, EpochTask)
    assert not isinstance(TinyTask(3), EpochTask)
    run(tmp_path, task)
    assert task.opened == task.closed == [0, 1, 2]


def test_task_tensors_are_saved_in_state_but_not_in_best_weights(uninterrupted: Path) -> None:
    assert read_state(uninterrupted / STATE)[0]["task/guesses"].abs().sum() > 0
    assert not any("guesses" in name for name in read_state(uninterrupted / BEST)[0])


@pytest.mark.parametrize("moment", ["step", "close", "evaluation", "state written"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_run_killed_during_pseudo_labelling_resumes_to_same_result(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, place: int
) -> None:
    def killed() -> None:
        task = Guessing(3)

        def kill_at_its_place(count: int) -> None:
            if count == place:
                kill()

        counts = iter(range(100))
        original = os.replace

        def replace(source: Path, target: Path) -> None:
            original(source, target)
            kill_at_its_place(next(counts))

        if moment == "step":
            task.on_step = lambda count: kill_at_its_place(count - 3)
        elif moment == "close":
            task.on_close = kill_at_its_place
        elif moment == "evaluation":
            task.on_evaluate = kill_at_its_place
        else:
            monkeypatch.setattr(run_state.os, "replace", replace)
        run(tmp_path, task)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed = Guessing(3)
    run(tmp_path, resumed)
    assert resumed.opened[-1] == 2
    for name in (STATE, BEST):
        ours, theirs = read_state(tmp_path / name)[0], read_state(uninterrupted / name)[0]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


def test_pseudo_labels_are_made_with_the_averaged_weights(tmp_path: Path) -> None:
    task, seen = Guessing(1), []
    task.on_close = lambda _: seen.append(task.module[0].weight.detach().clone())
    run(tmp_path, task, epochs=1)
    tensors = read_state(tmp_path / STATE)[0]
    assert torch.equal(seen[0], tensors["average/0.weight"])
    assert not torch.equal(seen[0], tensors["module/0.weight"])
