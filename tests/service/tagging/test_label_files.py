import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.settings import Settings
from sigrl.service.tagging import label_files
from sigrl.service.tagging.label_files import LabelFiles
from sigrl.service.tagging.tagger import Tagger

COLOURS = Vocabulary.from_names(["red", "green", "salt"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "labels"


@pytest.fixture
def files(folder: Path) -> LabelFiles:
    return LabelFiles(folder, 10**9)


def _values(files: LabelFiles, engine: FakeEngine, vocabulary: Vocabulary = COLOURS) -> np.ndarray:
    return files.get(engine, vocabulary, lambda: engine.encode_labels(vocabulary)).values


def _encodings(files: LabelFiles, vocabulary: Vocabulary = COLOURS, **engine: str) -> int:
    """How often a new process encodes the labels: 0 where there is a file."""
    fresh = FakeEngine(**engine)
    expected = FakeEngine(**engine).encode_labels(vocabulary).values
    np.testing.assert_array_equal(_values(files, fresh, vocabulary), expected)
    return len(fresh.encoded)


def test_restart_reuses_label_files(files: LabelFiles, folder: Path) -> None:
    assert _encodings(files) == 1
    assert _encodings(LabelFiles(folder, 10**9)) == 0
    assert len(list(folder.iterdir())) == 1


def test_label_file_key_covers_checkpoint_engine_code_and_texts(
    files: LabelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherEngine(FakeEngine):
        pass

    assert _encodings(files) == 1
    assert _encodings(files, checkpoint_id="sha256:other") == 1
    assert _encodings(files, Vocabulary.from_names(["red", "green"])) == 1
    _values(files, other := OtherEngine())
    assert len(other.encoded) == 1
    thresholds = Vocabulary(labels=tuple(Label(name=name, threshold=0.9) for name in COLOURS.names))
    assert _encodings(files, thresholds) == 0
    monkeypatch.setattr(label_files, "_code", lambda: "other")
    assert _encodings(files) == 1


def test_damaged_label_file_is_recreated(files: LabelFiles, folder: Path) -> None:
    _encodings(files)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert (_encodings(files), _encodings(files)) == (1, 0)
    for length in (0, 1, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert _encodings(files) == 1
    assert _encodings(files) == 0


def test_unusable_folder_does_not_fail_encoding(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert _encodings(LabelFiles(tmp_path / "file" / "labels", 10**9)) == 1
    assert "cannot be written" in caplog.text


def test_label_file_rejected_by_the_engine_is_encoded_again(files: LabelFiles) -> None:
    _encodings(files)

    class Stricter(FakeEngine):
        def unpack_labels(self, _: object) -> None:
            raise ValueError("other arrays")

    Stricter.__name__ = "FakeEngine"
    _values(files, engine := Stricter())
    assert len(engine.encoded) == 1


def _vocabulary(number: int) -> Vocabulary:
    return Vocabulary.from_names([f"{number} {letter}" for letter in "abcdefgh"])


def test_least_recently_used_file_is_removed_first(folder: Path) -> None:
    _encodings(LabelFiles(folder, 10**9), _vocabulary(0))
    (path,) = folder.iterdir()
    files = LabelFiles(folder, int(4.5 * path.stat().st_size))
    for number in range(1, 4):
        _encodings(files, _vocabulary(number))
        _encodings(files, _vocabulary(0))
        time.sleep(0.02)
    _encodings(files, _vocabulary(4))
    assert _encodings(files, _vocabulary(0)) == 0
    assert _encodings(files, _vocabulary(4)) == 0
    assert _encodings(files, _vocabulary(1)) == 1
    assert sum(each.stat().st_size for each in folder.iterdir()) <= 4.5 * path.stat().st_size


def test_number_of_label_files_is_limited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_files, "MAX_FILES", 16)
    files = LabelFiles(folder, 10**9)
    for number in range(40):
        _encodings(files, _vocabulary(number))
    assert 12 <= len(list(folder.iterdir())) <= 16
    assert _encodings(files, _vocabulary(39)) == 0


def test_file_larger_than_the_size_limit_is_not_written(folder: Path) -> None:
    files = LabelFiles(folder, 16)
    assert _encodings(files) == _encodings(files) == 1
    assert not folder.exists()


def test_old_unfinished_files_are_removed(folder: Path) -> None:
    folder.mkdir(parents=True)
    old, new = folder / "a.unfinished", folder / "b.unfinished"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    _encodings(LabelFiles(folder, 10**9))
    assert not old.exists()
    assert new.exists()


def test_concurrent_writes_leave_complete_files(files: LabelFiles, folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _values(files, FakeEngine(), _vocabulary(number % 3)), range(48)))
    assert len(list(folder.iterdir())) == 3
    assert sum(_encodings(files, _vocabulary(number)) for number in range(3)) == 0


def test_only_tagger_from_settings_uses_label_files(
    monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    def encoded(settings: Settings) -> int:
        engine = FakeEngine()
        monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)
        tagger = Tagger.from_settings(settings)
        tagger.prepare(["red", "green"])
        tagger.prepare(["red", "green"])
        return len(engine.encoded)

    assert [encoded(Settings()), encoded(Settings())] == [1, 0]
    assert [encoded(Settings(label_files_bytes=0)), encoded(Settings(label_files_bytes=0))] == [1, 1]
    assert len(list((data_folder / "labels").iterdir())) == 1
    Tagger(engine=FakeEngine()).prepare(["blue"])
    assert len(list((data_folder / "labels").iterdir())) == 1
