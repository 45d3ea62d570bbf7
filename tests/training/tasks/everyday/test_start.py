"""Sentence embeddings of texts, stored in files: computed once, by one run at a time."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday import start as module
from sigrl.training.tasks.everyday.start import Start

TEXTS = ("dog", "hot dog")


def test_concurrent_run_on_the_same_texts_is_rejected(start: Start, tmp_path: Path) -> None:
    expected = start.text_embeddings(TEXTS, tmp_path, "texts")
    (path,) = tmp_path.glob("*.npy")
    with FileLock(path.with_suffix(".lock")):
        # What is finished needs no lock.
        assert torch.equal(start.text_embeddings(TEXTS, tmp_path, "texts"), expected)
        path.unlink()
        with pytest.raises(DataError, match="another run computes the same features"):
            start.text_embeddings(TEXTS, tmp_path, "texts")
    assert torch.equal(start.text_embeddings(TEXTS, tmp_path, "texts"), expected)


def test_texts_that_another_run_finished_are_not_computed_again(
    start: Start,
    tmp_path: Path,
    another_run_finishes: Callable[[str, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = start.text_embeddings(TEXTS, tmp_path, "texts")
    another_run_finishes("start", tmp_path)
    monkeypatch.setattr(module, "text_features", None)
    assert torch.equal(start.text_embeddings(TEXTS, tmp_path, "texts"), expected)
