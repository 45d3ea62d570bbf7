"""The database: a SQLite file in the data folder, or PostgreSQL. `sigrl.service.database.tables` defines its
tables."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, TimeoutError

from sigrl.service.database.timeouts import Outage, connect_postgresql
from sigrl.service.errors import ParameterError, StoreError
from sigrl.service.settings import Settings, make_private_folder

if TYPE_CHECKING:
    from alembic.config import Config

FILE_NAME = "sigrl.db"

_MIGRATION_LOCK = 0x51624C
"""The key of a lock, an arbitrary number: replicas that start together migrate one after the other."""
_MIGRATION_SECONDS = 600.0
_CONNECT_SECONDS = 2
_NEWER = ("it was written by a newer release", "update sigrl-tagger, or name another database")
_logger = logging.getLogger("sigrl")


class Database:
    """Runs transactions: each is a `with` block of `read` or `write`. Thread-safe.

    A statement, a lock and a free connection may each take `Settings.database_seconds`. After a call that
    timed out, all calls of its kind (reads or writes) fail at once for a few seconds.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Separate, because a locked SQLite file can often still be read.
        self._reads, self._writes = Outage(), Outage()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Opens the database that the settings name, creates it if necessary, and migrates it to the newest
        schema.

        Raises ParameterError for a URL or a data folder that cannot be used, StoreError for a database that
        does not answer or that a newer release wrote.
        """
        # Migrating a large table takes time, and so does waiting for another replica's migration.
        migrating = cls(_create_engine(settings, _MIGRATION_SECONDS))
        try:
            with migrating.write() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                _migrate(connection)
        except StoreError as error:
            raise _told_to_operator(error) from error
        finally:
            migrating.close()
        return cls(_create_engine(settings, _seconds(settings)))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that changes nothing. Raises StoreError."""
        with _translated(self._reads), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, or rolled back if an exception leaves the block. Raises
        StoreError, and IntegrityError, which may only mean that another writer was faster."""
        with _translated(self._writes), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()


def schema_revisions(settings: Settings) -> tuple[str | None, str]:
    """(the revision of the settings' database, or None if it has no tables yet; the revision to which this
    release migrates it). Does not change the database. Raises ParameterError and StoreError as
    `Database.open` does.
    """
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_alembic())
    database = Database(_create_engine(settings, _seconds(settings)))
    try:
        with database.read() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    except StoreError as error:
        raise _told_to_operator(error) from error
    finally:
        database.close()
    if found is not None and found not in {each.revision for each in scripts.walk_revisions()}:
        raise StoreError(*_NEWER)
    return found, str(scripts.get_current_head())


def _seconds(settings: Settings) -> float:
    """The database timeout, short enough that a request can still report the failure in time."""
    return min(settings.database_seconds, settings.request_seconds / 3)


@contextmanager
def _translated(outage: Outage) -> Iterator[None]:
    began = outage.begin()
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, TimeoutError) as error:
        outage.failed(began)
        _logger.warning("the database failed: %s", error)
        hint = "try again; if this persists, see the service's log"
        raise StoreError("the database does not answer", hint) from error
    else:
        outage.answered()


def _told_to_operator(error: StoreError) -> StoreError:
    """The error for the operator. It includes the database's own message, which clients do not see."""
    cause = error.__cause__
    reason, hint = error.detail, error.hint
    if isinstance(cause, DBAPIError):
        reason, hint = str(cause.orig), "make sure that it can be reached, or change SIGRL_DATABASE_URL"
    return StoreError(f"the database cannot be used: {reason.strip().splitlines()[0]}", hint)


def _create_engine(settings: Settings, seconds: float) -> Engine:
    """`seconds`: the timeout for a statement, for a lock, and for a free connection."""
    if settings.database_url is None:
        try:
            make_private_folder(settings.data)
            # Created here, because SQLite would let everybody read the file. Journals get the same mode.
            if not (settings.data / FILE_NAME).exists():
                (settings.data / FILE_NAME).touch(mode=0o600)
        except OSError as error:
            raise ParameterError(
                f"the data folder {settings.data} cannot be made: {error.strerror}",
                "set SIGRL_DATA to a writable folder",
            ) from error
        engine = create_engine(
            URL.create("sqlite", database=str(settings.data / FILE_NAME)), pool_timeout=seconds
        )
        _prepare_sqlite(engine, seconds)
        return engine
    hint = "set SIGRL_DATABASE_URL to postgresql://user:password@host/database, or unset it"
    try:
        url = make_url(settings.database_url.get_secret_value())
    except ArgumentError as error:
        # The URL is not reported, because even a mistyped URL may contain a password.
        raise ParameterError("SIGRL_DATABASE_URL is not a URL", hint) from error
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ParameterError(f"SIGRL_DATABASE_URL asks for {url.get_backend_name()}", hint)
    try:
        # The ping detects a dead connection in the pool before it is used.
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_timeout=seconds,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )
        connect = connect_postgresql(seconds)
    except ImportError as error:
        raise ParameterError(
            f"PostgreSQL cannot be used here: {error}", "install the extra: sigrl-tagger[postgres]"
        ) from error
    event.listen(engine, "do_connect", lambda _dialect, _record, args, options: connect(*args, **options))
    return engine


def _prepare_sqlite(engine: Engine, seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        # Python's driver begins transactions too late, and none for DDL statements, so `begin` does it.
        connection.isolation_level = None
        for pragma in (f"busy_timeout = {int(seconds * 1000)}", "journal_mode = WAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that begins as a reader does not wait for another writer, but fails.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _alembic() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "sigrl.service.database:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.util import CommandError

    config = _alembic()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(*_NEWER) from error
