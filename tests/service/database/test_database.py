import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError

from sigrl.service.database.database import FILE_NAME, Database
from sigrl.service.database.tables import Base, VocabularyRow
from sigrl.service.errors import ParameterError, StoreError
from sigrl.service.settings import Settings


@pytest.fixture
def database(stored: Settings):
    opened = Database.open(stored)
    yield opened
    opened.close()


def _names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(VocabularyRow.name)))


def _add(database: Database, name: str) -> None:
    with database.write() as connection:
        connection.execute(insert(VocabularyRow).values(name=name, version=1, deleted=False))


def _add_twice(database: Database, name: str) -> None:
    with database.write() as connection:
        for _ in range(2):
            connection.execute(insert(VocabularyRow).values(name=name, version=1, deleted=False))


def test_the_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_what_was_written_is_there_when_it_is_opened_again(stored: Settings) -> None:
    for name in ("pets", "cars"):
        database = Database.open(stored)
        _add(database, name)
        database.close()
    database = Database.open(stored)
    assert sorted(_names(database)) == ["cars", "pets"]
    database.close()


def test_a_block_that_fails_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(IntegrityError):
        _add_twice(database, "pets")
    assert _names(database) == []
    _add(database, "pets")
    with pytest.raises(IntegrityError):
        _add(database, "pets")


def test_replicas_that_start_together_migrate_once(stored: Settings) -> None:
    ready = threading.Barrier(4)

    def start(_: int) -> None:
        ready.wait(10)
        Database.open(stored).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))


def test_writers_wait_for_each_other_and_readers_do_not(database: Database) -> None:
    _add(database, "pets")

    def count_up(_: int) -> None:
        with database.write() as connection:
            row = select(VocabularyRow.version).where(VocabularyRow.name == "pets")
            version = connection.scalars(row.with_for_update()).one()
            assert _names(database) == ["pets"]
            connection.execute(update(VocabularyRow).values(version=version + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_up, range(40)))
    with database.read() as connection:
        assert connection.scalars(select(VocabularyRow.version)).one() == 41


def test_the_database_of_a_newer_release_is_refused(stored: Settings) -> None:
    database = Database.open(stored)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match="newer release"):
        Database.open(stored)


def test_a_process_that_runs_goes_on_when_a_newer_release_has_added_to_its_database(stored: Settings) -> None:
    old, new = Database.open(stored), Database.open(stored)
    with new.write() as connection:
        connection.execute(text("ALTER TABLE vocabularies ADD COLUMN later INTEGER NOT NULL DEFAULT 0"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    new.close()
    _add(old, "pets")
    assert _names(old) == ["pets"]
    old.close()


def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ParameterError, match=r"file/data cannot be made.*SIGRL_DATA"):
        Database.open(Settings(data=file / "data"))


def test_a_file_that_is_no_database_says_so(data_folder: Path) -> None:
    data_folder.mkdir()
    (data_folder / FILE_NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="file is not a database"):
        Database.open(Settings())


@pytest.mark.parametrize(
    ("url", "says"),
    [("secret", "is not a URL"), ("mysql://me:secret@host/db", "asks for mysql")],
)
def test_a_wrong_database_url_is_refused_without_being_repeated(url: str, says: str) -> None:
    settings = Settings(database_url=url)
    with pytest.raises(ParameterError, match=says) as caught:
        Database.open(settings)
    assert "secret" not in str(caught.value) + repr(settings)


def test_a_server_that_is_not_there_is_told_to_the_operator_alone(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match=r"cannot be used: .*nowhere") as caught:
        Database.open(Settings(database_url=f"postgres://me:secret@/db?host={tmp_path}/nowhere"))
    assert "secret" not in str(caught.value)
    assert "nowhere" not in str(caught.value.__cause__)
