"""The commands of docs/deploy.md that save and restore, as they are written there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.settings import Settings
from sigrl.service.vocabularies.registry import VocabularyRegistry

GUIDE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


@pytest.fixture
def postgres() -> Iterator[postgres_server.PostgresServer]:
    if postgres_server.find() is None:
        pytest.skip("PostgreSQL is not installed here")
    with postgres_server.running() as server:
        yield server


def test_sqlite_backup_while_in_use_can_be_restored(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    registry = VocabularyRegistry.open(settings)
    registry.put("pets", Vocabulary.from_names(["cat", "dog"]))
    (code,) = re.findall(r'python -c "(.+)"', GUIDE)
    subprocess.run([sys.executable, "-c", code.replace("/data", str(tmp_path))], check=True)
    registry.close()
    for name in re.findall(r"`(sigrl\.db-\w+)`", GUIDE):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", tmp_path / "sigrl.db")
    assert _labels(settings) == ["cat", "dog"]


def test_postgresql_backup_can_be_restored(postgres: postgres_server.PostgresServer, tmp_path: Path) -> None:
    folder = str(postgres.folder)
    for command in (["createuser", "-s", "sigrl"], ["createdb", "-O", "sigrl", "sigrl"]):
        postgres.call(command[0], "-h", folder, *command[1:])
    settings = Settings(database_url=f"postgresql://sigrl@/sigrl?host={folder}")
    registry = VocabularyRegistry.open(settings)
    registry.put("pets", Vocabulary.from_names(["cat", "dog"]))
    dump = tmp_path / "sigrl.dump"
    save, restore = re.findall(r"exec -T postgres (pg_.+) [<>] sigrl\.dump", GUIDE)
    with dump.open("wb") as file:
        _run(postgres, save, stdout=file)
    registry.delete("pets")
    registry.close()
    with dump.open("rb") as file:
        _run(postgres, restore, stdin=file)
    assert _labels(settings) == ["cat", "dog"]


def _run(postgres: postgres_server.PostgresServer, command: str, **files: object) -> None:
    program, *arguments = shlex.split(command)
    environment = os.environ | {"PGHOST": str(postgres.folder)}
    subprocess.run([postgres.programs / program, *arguments], check=True, env=environment, **files)


def _labels(settings: Settings) -> list[str]:
    registry = VocabularyRegistry.open(settings)
    try:
        return [label.name for label in registry.get("pets").labels]
    finally:
        registry.close()
