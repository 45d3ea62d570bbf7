"""What outlives the process: a SQLite file in the data folder, or PostgreSQL. Tables:
`sigrl.service.database.tables`."""

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
"""Any number: replicas that start together migrate one after the other."""
_MIGRATION_SECONDS = 600.0
_CONNECT_SECONDS = 2
_NEWER = ("it was written by a newer release", "update sigrl-tagger, or name another database")
_logger = logging.getLogger("sigrl")


class Database:
    """Transactions, each of which is one of the two `with` blocks below. Safe to share between threads.

    Nobody waits for long: a statement, a lock and a free connection may take `Settings.database_seconds`
    each. After one that ran out of time, all calls of its kind (reads or writes) fail at once for a few
    seconds.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # A SQLite file that is locked can often still be read.
        self._reads, self._writes = Outage(), Outage()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The database that the settings name, made where there is none and brought to the newest form.

        Raises ParameterError for a URL or a data folder that cannot be used, StoreError for a database that
        does not answer or that a newer release wrote.
        """
        # A migration of a large table takes its time, and so does one that another replica has begun.
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
        """A transaction that is committed at the end, or undone when an exception leaves the block. Raises
        StoreError; IntegrityError passes, as it may be no fault but another writer who was quicker."""
        with _translated(self._writes), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    def close(self) -> None:
        """Gives back its connections."""
        self._engine.dispose()


def schema_revisions(settings: Settings) -> tuple[str | None, str]:
    """The revision that the settings' database is at, None where it has no tables yet, and the one that this
    release brings it to. Changes nothing in it. Raises ParameterError and StoreError as `Database.open` does.
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
    """What fails by the database should still be told in time."""
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
        hint = "try again; if it stays, the operator finds the reason in the log"
        raise StoreError("the database does not answer", hint) from error
    else:
        outage.answered()


def _told_to_operator(error: StoreError) -> StoreError:
    """With the database's own reason, which clients are not told."""
    cause = error.__cause__
    reason, hint = error.detail, error.hint
    if isinstance(cause, DBAPIError):
        reason, hint = str(cause.orig), "see that it can be reached, or change SIGRL_DATABASE_URL"
    return StoreError(f"the database cannot be used: {reason.strip().splitlines()[0]}", hint)


def _create_engine(settings: Settings, seconds: float) -> Engine:
    """`seconds`: for a statement, for a lock, and for a free connection."""
    if settings.database_url is None:
        try:
            make_private_folder(settings.data)
            # Made here and not by SQLite, which would let everybody read it; its journals get the same mode.
            if not (settings.data / FILE_NAME).exists():
                (settings.data / FILE_NAME).touch(mode=0o600)
        except OSError as error:
            raise ParameterError(
                f"the data folder {settings.data} cannot be made: {error.strerror}",
                "set SIGRL_DATA to a folder that can be written",
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
        # Its text is not told: a mistyped URL may hold a password all the same.
        raise ParameterError("SIGRL_DATABASE_URL is no URL", hint) from error
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ParameterError(f"SIGRL_DATABASE_URL asks for {url.get_backend_name()}", hint)
    try:
        # A connection that died in the pool is found out before it is used.
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
        # Python's driver begins transactions too late, and none for a change of tables: `begin` does.
        connection.isolation_level = None
        for pragma in (f"busy_timeout = {int(seconds * 1000)}", "journal_mode = WAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that begins as a reader fails where another writes meanwhile, instead of waiting.
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
