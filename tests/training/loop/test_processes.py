"""How many processes a run has, by the environment that `torchrun` sets."""

from pathlib import Path

import pytest
import torch
from tiny_run import run

from sigrl.training.data.dataset import DataError
from sigrl.training.loop.loop import count_started_processes


def test_unconnected_distributed_processes_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would train everything, and write into the same directory."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with pytest.raises(DataError, match=r"2 processes were started .* but 1 found one another"):
        run(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "count"), [(None, 1), ("", 1), ("2", 2)])
def test_processes_are_counted_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str | None, count: int
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if value is not None:
        monkeypatch.setenv("WORLD_SIZE", value)
    assert count_started_processes() == count


def test_run_with_an_empty_world_size_is_a_run_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "")
    assert run(tmp_path).finished
