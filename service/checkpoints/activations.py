"""The history of activations, which outlives the process."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import insert, select

from sigrl.service.database.database import Database
from sigrl.service.database.tables import ActivationRow


@dataclass(frozen=True)
class Activation:
    """One change of the checkpoint that answers."""

    generation: int
    checkpoint: str
    bundle: str | None
    """As `Bundle.name`."""
    configured: str | None
    """What the settings asked for at that time."""
    by_settings: bool
    """Whether it was the settings that asked, and nobody at run time."""


class History(Protocol):
    """Where activations are written down."""

    def last(self) -> Activation | None:
        """The latest one."""
        ...

    def record(
        self, checkpoint: str, bundle: str | None, configured: str | None, *, by_settings: bool
    ) -> int:
        """Writes one down; its generation, greater than all before."""
        ...


class Unwritten:
    """A history that ends with the process."""

    def __init__(self) -> None:
        self._last: Activation | None = None

    def last(self) -> Activation | None:
        """See `History`."""
        return self._last

    def record(
        self, checkpoint: str, bundle: str | None, configured: str | None, *, by_settings: bool
    ) -> int:
        """See `History`."""
        generation = 1 if self._last is None else self._last.generation + 1
        self._last = Activation(generation, checkpoint, bundle, configured, by_settings)
        return generation


class Activations:
    """The history in the database. Both methods raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self) -> Activation | None:
        """See `History`."""
        rows = ActivationRow
        query = select(
            rows.generation, rows.checkpoint, rows.bundle, rows.configured, rows.by_settings
        ).order_by(rows.generation.desc())
        with self._database.read() as connection:
            row = connection.execute(query.limit(1)).one_or_none()
        return None if row is None else Activation(*row)

    def record(
        self, checkpoint: str, bundle: str | None, configured: str | None, *, by_settings: bool
    ) -> int:
        """See `History`."""
        values = {
            "checkpoint": checkpoint,
            "bundle": bundle,
            "configured": configured,
            "by_settings": by_settings,
            "created": datetime.now(UTC),
        }
        with self._database.write() as connection:
            return connection.scalars(
                insert(ActivationRow).values(**values).returning(ActivationRow.generation)
            ).one()
