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


def test_migrations_create_the_tables_of_the_models(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_written_rows_persist_after_reopening(stored: Settings) -> None:
    for name in ("pets", "cars"):
        database = Database.open(stored)
        _add(database, name)
        database.close()
    database = Database.open(stored)
    assert sorted(_names(database)) == ["cars", "pets"]
    database.close()


def test_failed_transaction_is_rolled_back(database: Database) -> None:
    with pytest.raises(IntegrityError):
        _add_twice(database, "pets")
    assert _names(database) == []
    _add(database, "pets")
    with pytest.raises(IntegrityError):
        _add(database, "pets")


def test_replicas_starting_together_migrate_safely(stored: Settings) -> None:
    ready = threading.Barrier(4)

    def start(_: int) -> None:
        ready.wait(10)
        Database.open(stored).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))


def test_concurrent_writers_are_serialized_and_readers_do_not_wait(database: Database) -> None:
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


def test_database_of_a_newer_release_is_rejected(stored: Settings) -> None:
    database = Database.open(stored)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match="newer release"):
        Database.open(stored)


def test_running_process_survives_a_newer_schema_migration(stored: Settings) -> None:
    old, new = Database.open(stored), Database.open(stored)
    with new.write() as connection:
        connection.execute(text("ALTER TABLE vocabularies ADD COLUMN later INTEGER NOT NULL DEFAULT 0"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    new.close()
    _add(old, "pets")
    assert _names(old) == ["pets"]
    old.close()


def test_unusable_data_folder_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ParameterError, match=r"file/data cannot be made.*SIGRL_DATA"):
        Database.open(Settings(data=file / "data"))


def test_invalid_database_file_is_reported(data_folder: Path) -> None:
    data_folder.mkdir()
    (data_folder / FILE_NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="file is not a database"):
        Database.open(Settings())


@pytest.mark.parametrize(
    ("url", "says"),
    [("secret", "is not a URL"), ("mysql://me:secret@host/db", "asks for mysql")],
)
def test_invalid_database_url_is_rejected_without_showing_it(url: str, says: str) -> None:
    settings = Settings(database_url=url)
    with pytest.raises(ParameterError, match=says) as caught:
        Database.open(settings)
    assert "secret" not in str(caught.value) + repr(settings)


def test_unreachable_database_details_are_kept_from_clients(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match=r"cannot be used: .*nowhere") as caught:
        Database.open(Settings(database_url=f"postgres://me:secret@/db?host={tmp_path}/nowhere"))
    assert "secret" not in str(caught.value)
    assert "nowhere" not in str(caught.value.__cause__)
