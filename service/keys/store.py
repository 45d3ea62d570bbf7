"""Stores the API keys of an installation in its database."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select, update

from sigrl.service.database.database import Database
from sigrl.service.database.tables import KeyRow
from sigrl.service.errors import KeyNotFoundError
from sigrl.service.keys.key import Key, KeyScope, draw, hash_secret, written

LAST_USED_MINUTES = 10
"""Precision of `Key.last_used`; it saves a database write per request."""


class KeyStore:
    """Safe to share between threads, processes and machines. All methods raise StoreError if the database
    does not respond."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, scope: KeyScope, rate: int | None = None, days: int | None = None
    ) -> tuple[Key, str]:
        """Creates a key and returns it with its text form. The secret in it cannot be retrieved later."""
        key_id, secret = draw()
        now = datetime.now(UTC)
        expires = None if days is None else now + timedelta(days=days)
        key = Key(key_id, name, scope, rate, hash_secret(secret), now, expires, None)
        with self._database.write() as connection:
            connection.execute(insert(KeyRow).values(**vars(key)))
        return key, written(key_id, secret)

    def find(self, key_id: str) -> Key | None:
        """The key with this id; None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(*KeyRow.__table__.c).where(KeyRow.id == key_id)).one_or_none()
        return None if row is None else _key(row._asdict())

    def all(self) -> list[Key]:
        """All keys, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(*KeyRow.__table__.c).order_by(KeyRow.created, KeyRow.id)).all()
        return [_key(row._asdict()) for row in rows]

    def revoke(self, key_id: str) -> None:
        """Deletes a key. Raises KeyNotFoundError."""
        with self._database.write() as connection:
            gone = connection.execute(delete(KeyRow).where(KeyRow.id == key_id))
        if not gone.rowcount:
            raise KeyNotFoundError(f"there is no key {key_id[:40]!a}", "`sigrl key list` shows all ids")

    def note_use(self, key: Key) -> None:
        """Records that the key was used just now."""
        now = datetime.now(UTC)
        if key.last_used is not None and now - key.last_used < timedelta(minutes=LAST_USED_MINUTES):
            return
        with self._database.write() as connection:
            connection.execute(update(KeyRow).where(KeyRow.id == key.id).values(last_used=now))


def _key(values: dict[str, object]) -> Key:
    return Key(**{**values, "scope": KeyScope(str(values["scope"]))})  # type: ignore[arg-type]
