"""The report page: complete, self-contained, and safe for any names of labels and files."""

import importlib
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sigrl.training.data.dataset import DataError, LabelledPhotographs
from sigrl.training.measures.evaluation import evaluate_scores
from sigrl.training.measures.report import Evaluation
from sigrl.training.measures.results import Results, read_results, write_results
from sigrl.training.report import try_report, write_report

NASTY = "<script>alert('1')</script>"
VOID = {"meta", "link", "br", "img", "col", "use", "path"}


class Page(HTMLParser):
    """The page's text, without what a browser would not show as text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text()
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def _extra() -> None:
    pytest.importorskip("matplotlib", reason="the extra `report` is not installed")


def evaluation(directory: Path, labels: int, name: str = "label") -> Evaluation:
    """A run with 12 photographs, of which two cannot be shown."""
    random = np.random.RandomState(0)
    paths = []
    for number in range(12):
        path = directory / f"{number} & {'photograph' if number else '<b>bold<'}.png"
        if number != 1:
            Image.new("RGB", (30, 20), (20 * number, 0, 0)).save(path)
        paths.append(path)
    paths[2].write_bytes(b"no photograph")
    scores = random.randn(12, labels)
    known = random.choice([-1, 0, 1], (12, labels), p=[0.5, 0.1, 0.4]).astype(np.int8)
    known[0] = 1
    known[0, 0] = -1
    names = tuple(f"{name} {number}" for number in range(labels))
    photographs = LabelledPhotographs(tuple(paths), names, known)
    return evaluate_scores(scores, 1 / (1 + np.exp(-scores)), 0.5, photographs)


def write_run(directory: Path, labels: int = 3, name: str = "label", **changes: object) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    lines = [
        {"step": 1, "epoch": 0, "loss": 3.0, "learning_rate": 0.1, "images_per_second": 41.26},
        {"step": 1, "epoch": 0, "val/mAP": 40.0},
        {"step": 2, "epoch": 1, "loss": 2.0, "learning_rate": 0.05, "images_per_second": 41.26},
        {"step": 2, "epoch": 1, "val/mAP": 50.0},
    ]
    (directory / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    content = {
        "task": "photographs",
        "measured": {"zsl/mAP": 12.34, "speed": 5.0},
        "best_epoch": 1,
        "skipped": {"missing file": 3},
        "evaluations": {"test": evaluation(directory, labels, name)},
        "configuration": {"root": "/photographs", "loop": {"epochs": 2}},
    }
    write_results(directory, Results.model_validate({**content, **changes}))


@pytest.mark.usefixtures("_extra")
def test_page_shows_the_whole_run(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    (run / "bundle").mkdir(parents=True)
    write_run(run)
    found = read_results(run).evaluations["test"]
    page = Page(write_report(run))
    for part in (
        "my run",
        "2 steps in 2 epochs; the best one was epoch 2",
        "41.3 images per second",
        "12.3",
        "missing file",
        "epochs: 2",
        "Best photographs",
        "Worst photographs",
        "calibration error",
        f"SIGRL_CHECKPOINT='{run}/bundle' sigrl serve",
    ):
        assert part in page.text, part
    assert len(page.attributes("svg")) == 4
    assert all(one["role"] == "img" and one["aria-label"] for one in page.attributes("svg"))
    pictures = page.attributes("img")
    shown = [one.path for one in (*found.best, *found.worst)]
    lost = page.text.count("The photograph is missing")
    assert lost == sum(path.name[:2] in ("1 ", "2 ") for path in shown) > 0
    assert len(pictures) == len(shown) - lost > 0
    assert all(one["alt"] for one in pictures)


@pytest.mark.usefixtures("_extra")
def test_page_loads_no_external_resources(tmp_path: Path) -> None:
    write_run(tmp_path)
    page = Page(write_report(tmp_path))
    assert not page.attributes("script")
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "url(http" not in page.source
    assert any("default-src 'none'" in (one.get("content") or "") for one in page.attributes("meta"))


@pytest.mark.usefixtures("_extra")
def test_labels_paths_and_settings_are_escaped(tmp_path: Path) -> None:
    run = tmp_path / "<i>run"
    (run / "bundle").mkdir(parents=True)
    nasty = {NASTY: NASTY}
    write_run(
        run, name=NASTY, task=NASTY, configuration=nasty, skipped={NASTY: 1}, measured={NASTY: 1.0, "a/b": 2}
    )
    page = Page(write_report(run))
    assert not page.attributes("script")
    # The page's own: the task's name, and bars.
    assert len(page.attributes("b")) == 1
    assert all("style" in one for one in page.attributes("i"))
    assert page.text.count(NASTY) > 20
    assert "<b>bold<" in page.text


@pytest.mark.usefixtures("_extra")
@pytest.mark.parametrize(("labels", "bars"), [(3, 3), (60, 60), (1006, 60)])
def test_bars_are_limited_but_the_table_lists_all_labels(tmp_path: Path, labels: int, bars: int) -> None:
    write_run(tmp_path, labels)
    page = Page(write_report(tmp_path))
    assert sum(one.get("class") == "bar" for one in page.attributes("td")) == bars
    for number in (0, labels // 2, labels - 1):
        assert f"label {number}" in page.text
    # All labels but one apply to the first photograph.
    assert max(len(one["alt"] or "") for one in page.attributes("img")) < 200
    assert len(page.source) < 1_000_000


@pytest.mark.usefixtures("_extra")
def test_unfinished_run_shows_its_curves(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "results.json").unlink()
    page = Page(write_report(tmp_path))
    assert "has not finished" in page.text
    assert len(page.attributes("svg")) == 3


@pytest.mark.usefixtures("_extra")
def test_run_without_epochs_or_images_shows_its_measures(tmp_path: Path) -> None:
    write_results(tmp_path, Results(task="ladder", measured={"mAP": 3.21}))
    page = Page(write_report(tmp_path))
    assert "3.2" in page.text
    assert not page.attributes("svg")


def test_directory_without_a_run_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no run"):
        write_report(tmp_path)


def test_missing_matplotlib_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "a run")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "sigrl.training.report.charts", raising=False)
    monkeypatch.delattr(importlib.import_module("sigrl.training.report"), "charts", raising=False)
    said = try_report(tmp_path / "a run")
    assert said.startswith("no report page: matplotlib is not installed: pip install 'sigrl-tagger[report]'")
    assert f"sigrl-train report '{tmp_path}/a run'" in said
    assert len(said.splitlines()) == 1


@pytest.mark.usefixtures("_extra")
def test_try_report_returns_the_path_of_the_page(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert try_report(tmp_path) == f"wrote {tmp_path / 'report.html'}"
