"""docs/security.md: the data folder is for its owner alone, whatever makes it first."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from sigrl.service.checkpoints.bundles import BundleStore
from sigrl.service.database.database import Database
from sigrl.service.settings import Settings


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_data_folder_made_by_tagging_is_private(
    sigrl: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    photograph: Path,
    data_folder: Path,
) -> None:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: FakeEngine())
    assert sigrl("tag", photograph, "--labels", "red")[0] == 0
    for path in (data_folder, *data_folder.rglob("*")):
        assert _mode(path) & 0o077 == 0, path


def test_data_folder_made_by_the_bundle_store_is_private(data_folder: Path) -> None:
    BundleStore.of(Settings()).make()
    assert _mode(data_folder) == _mode(data_folder / "checkpoints") == 0o700


def test_data_folder_made_by_the_database_is_private(data_folder: Path) -> None:
    database = Database.open(Settings(data=data_folder / "a" / "b"))
    files = sorted((data_folder / "a" / "b").iterdir())
    assert "sigrl.db" in [path.name for path in files]
    assert {_mode(path) for path in files} == {0o600}
    assert _mode(data_folder / "a" / "b") == _mode(data_folder / "a") == 0o700
    database.close()
