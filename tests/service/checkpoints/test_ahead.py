"""A process of its own compiles a bundle and encodes labels before the service loads it."""

from pathlib import Path

import pytest

from sigrl.model import openvino_graphs
from sigrl.model.bundle_files import bundled_path
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.checkpoints.ahead import compile_ahead
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

VOCABULARY = Vocabulary.from_names(["dog", "zebra", "red car"])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, vocabulary="coco80", engine="openvino", checkpoint=bundled_path())


def test_service_reuses_graphs_and_labels_compiled_ahead(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    compile_ahead(bundled_path(), settings, [VOCABULARY], lambda done, total: told.append((done, total)))
    assert told[0] == (3, 3)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the service compiles")

    monkeypatch.setattr(openvino_graphs.openvino.Core, "compile_model", refuse)
    tagger = Tagger.from_settings(settings)
    monkeypatch.setattr(tagger.engine, "encode_labels", refuse)
    for vocabulary in (VOCABULARY, tagger.vocabulary):
        tagger.labels.features(vocabulary)


def test_cancelled_load_ends_the_compile_process(settings: Settings) -> None:
    def cancel(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_ahead(bundled_path(), settings, [VOCABULARY], cancel)


def test_unusable_bundle_only_logs_a_warning_when_compiled_ahead(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compile_ahead(tmp_path / "none", settings, [], lambda _done, _total: None)
    assert "was not compiled ahead" in caplog.text
