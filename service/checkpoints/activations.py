"""The history of activations, which is kept when the process ends."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import ColumnElement, insert, select

from sigrl.service.checkpoints.bundles import Bundle, BundleStore
from sigrl.service.database.database import Database
from sigrl.service.database.tables import ActivationRow
from sigrl.service.errors import UnusableBundleError


@dataclass(frozen=True)
class Activation:
    """One change of the active checkpoint."""

    generation: int
    checkpoint: str
    bundle: str | None
    """As `Bundle.name`."""
    configured: str | None
    """The bundle that the settings named at that time."""
    by_settings: bool
    """Whether it came from the settings, and not from a request at run time."""


def find_bundle(activation: Activation, bundles: BundleStore) -> Bundle:
    """The bundle that was activated. Raises as `BundleStore.find` does, and UnusableBundleError if another
    bundle has taken its place."""
    found = bundles.find(activation.bundle, trusted=True)
    if found.checkpoint_id != activation.checkpoint:
        raise UnusableBundleError(
            f"the bundle of {activation.checkpoint} was replaced by another", "copy the activated bundle back"
        )
    return found


class History(Protocol):
    """Records activations."""

    def last(self) -> Activation | None:
        """The latest activation, if any."""
        ...

    def before(self, checkpoint: str) -> Activation | None:
        """The latest activation of any other checkpoint, if any."""
        ...

    def record(
        self, checkpoint: str, bundle: str | None, configured: str | None, *, by_settings: bool
    ) -> int:
        """Records an activation and returns its generation, which is greater than all earlier ones."""
        ...


class Unwritten:
    """A history in memory, which is lost when the process ends."""

    def __init__(self) -> None:
        self._last: Activation | None = None

    def last(self) -> Activation | None:
        """See `History`."""
        return self._last

    def before(self, checkpoint: str) -> Activation | None:  # noqa: ARG002
        """Always None: the previously active checkpoint is in memory, or was unloaded on purpose."""
        return None

    def record(
        self, checkpoint: str, bundle: str | None, configured: str | None, *, by_settings: bool
    ) -> int:
        """See `History`."""
        generation = 1 if self._last is None else self._last.generation + 1
        self._last = Activation(generation, checkpoint, bundle, configured, by_settings)
        return generation


class Activations:
    """The history in the database. All methods raise StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self) -> Activation | None:
        """See `History`."""
        return self._newest()

    def before(self, checkpoint: str) -> Activation | None:
        """See `History`."""
        return self._newest(ActivationRow.checkpoint != checkpoint)

    def _newest(self, *conditions: ColumnElement[bool]) -> Activation | None:
        rows = ActivationRow
        columns = rows.generation, rows.checkpoint, rows.bundle, rows.configured, rows.by_settings
        query = select(*columns).where(*conditions).order_by(rows.generation.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
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
