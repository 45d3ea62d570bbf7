"""Benchmarks that train the short recipe: words that nobody labelled, and the parts of head and training."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benchmarks import head_parts, left_out, training_parts
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.sources import read_names
from sigrl.training.tasks.everyday.start import Start

Config = Callable[..., EverydayConfig]


@pytest.fixture
def config(everyday: Config, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(left_out, "starting_point", lambda _: (start.backbone, start.classifier))
    monkeypatch.setattr(left_out, "minilm_tokenizer", lambda: start.tokenizer)
    path = tmp_path / "everyday.yaml"
    path.write_text(yaml.safe_dump(everyday().model_dump(mode="json")))
    return path


@pytest.fixture
def folds(config: Path, tmp_path: Path) -> Callable[[], None]:
    return lambda: left_out.main(config, tmp_path / "folds", folds=2, steps=2, tuned_blocks=1, seed=0)


def test_every_name_is_left_out_in_one_fold(
    folds: Callable[[], None], everyday: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[tuple[str, ...]] = []
    fit = left_out.fit_left_out
    monkeypatch.setattr(
        left_out, "fit_left_out", lambda draft, words: left.append(words) or fit(draft, words)
    )
    folds()
    assert sorted(word for words in left for word in words) == sorted(read_names(everyday().everyday))


def test_table_has_a_row_per_fold_and_a_finished_fold_is_not_trained_again(
    folds: Callable[[], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds()
    table = _table(capsys)
    assert [row.split("|")[1].strip(" -") for row in table] == ["fold", "", "1", "2", "mean"]
    states = list((tmp_path / "folds").glob("*/state.safetensors"))
    written = {path: path.stat().st_mtime_ns for path in states}
    folds()
    assert _table(capsys) == table
    assert written == {path: path.stat().st_mtime_ns for path in states}


def test_parts_of_the_head_have_a_deviation_over_seeds(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head_parts.main(config, tmp_path / "parts", seeds=2, steps=2, tuned_blocks=1)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in _table(capsys)]
    assert [row[0] for row in rows] == [
        *("", "---", "the embedding alone", "the known words' logits alone", "… and matching"),
        *("… and the graph", "… and classes", "… and rivals: the whole head"),
    ]
    assert all(re.fullmatch(r"\d+\.\d ± \d+\.\d", cell) for cell in rows[3][1:])
    assert rows[2][2:] == ["", "", ""]
    added = r"\d+\.\d ± \d+\.\d \([+-]\d+\.\d ± \d+\.\d\)"
    assert all(re.fullmatch(added, cell) for row in rows[4:] for cell in row[1:])


def test_a_part_of_the_head_adds_to_the_row_above_seed_by_seed() -> None:
    found = {"a": [{"mAP": 60.0}, {"mAP": 70.0}], "… and b": [{"mAP": 61.0}, {"mAP": 73.0}]}
    assert "| … and b | 67.0 ± 8.5 (+2.0 ± 1.4) |" in head_parts.table(found)


def test_parts_of_the_training_are_compared_with_the_whole_recipe(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = "… the tower stays frozen"
    changes = {title: training_parts.CHANGES[title] for title in (training_parts.WHOLE, frozen)}
    monkeypatch.setattr(training_parts, "CHANGES", changes)
    training_parts.main(config, tmp_path / "parts", seeds=2, steps=2, tuned_blocks=1)
    header, _, whole, changed = [[cell.strip() for cell in row.split("|")[1:-1]] for row in _table(capsys)]
    assert header == ["", *training_parts.MEASURES]
    assert (whole[0], changed[0]) == (training_parts.WHOLE, frozen)
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d", whole[1])
    assert re.fullmatch(r"[+-]\d+\.\d ± \d+\.\d", changed[1])


@pytest.mark.parametrize("title", training_parts.CHANGES)
def test_every_change_changes_the_training_and_nothing_else(everyday: Config, title: str) -> None:
    settings = everyday()
    changed = training_parts.changed(settings, training_parts.CHANGES[title])
    assert (changed == settings) == (title == training_parts.WHOLE)
    assert changed.model_copy(update={"training": settings.training}) == settings


def _table(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The rows of the table; the training writes its progress above them."""
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
