"""The database queries for vocabularies."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, and_, delete, insert, select, update

from sigrl import version
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.database.tables import CalibrationRow, VocabularyRow, VocabularyVersionRow
from sigrl.service.schemas.vocabularies import VocabularySummary

KEPT_VERSIONS = 100
"""The number kept for each vocabulary; a new one then replaces the oldest."""


_OF_CALIBRATION = ("calibration", "calibrated")


@dataclass(frozen=True)
class Entry:
    """One version of a vocabulary, without its labels."""

    name: str
    version: int | None
    """None for a built-in vocabulary."""
    content_hash: str
    size: int
    """Number of labels."""
    created: datetime | None
    """When this version was registered; None for a built-in vocabulary."""
    calibration: int | None = None
    """Number of the calibration that applies to the vocabulary, if it has one."""
    calibrated: datetime | None = None
    """When that calibration was made."""

    @property
    def etag(self) -> str:
        """The entity tag, with its quotes."""
        digest = self.content_hash.removeprefix("sha256:")[:16]
        # A release may translate a built-in vocabulary anew, which the hash does not show.
        return f'"{version() if self.version is None else self.version}-{digest}"'

    def summary(self) -> VocabularySummary:
        """The entry as it is sent over the wire."""
        return VocabularySummary(
            name=self.name,
            version=self.version,
            hash=self.content_hash,
            size=self.size,
            built_in=self.version is None,
            created=self.created,
            calibration=self.calibration,
        )


def find(connection: Connection, name: str, version: int | None = None) -> Entry | None:
    """A version of a vocabulary, by default the newest; None if it does not exist."""
    wanted = VocabularyRow.version if version is None else version
    query = _entries().where(VocabularyRow.name == name, VocabularyVersionRow.version == wanted)
    row = connection.execute(query).one_or_none()
    return None if row is None else Entry(*row)


def page(connection: Connection, after: str, limit: int) -> list[Entry]:
    """The newest version of each vocabulary after the name `after`, by name."""
    newest = _entries().where(
        VocabularyRow.version == VocabularyVersionRow.version, VocabularyRow.name > after
    )
    return [Entry(*row) for row in connection.execute(newest.order_by(VocabularyRow.name).limit(limit))]


def history(connection: Connection, name: str, before: int | None, limit: int) -> list[Entry]:
    """The kept versions of one vocabulary, newest first."""
    kept = _entries().where(VocabularyRow.name == name)
    if before is not None:
        kept = kept.where(VocabularyVersionRow.version < before)
    newest_first = kept.order_by(VocabularyVersionRow.version.desc()).limit(limit)
    return [Entry(*row) for row in connection.execute(newest_first)]


def labels(connection: Connection, entry: Entry) -> str | None:
    """The JSON of exactly this version: after the database is restored, another one may have its number."""
    rows = VocabularyVersionRow
    these = rows.name == entry.name, rows.version == entry.version, rows.content_hash == entry.content_hash
    return connection.scalar(select(rows.labels).where(*these))


def lock(connection: Connection, name: str) -> int | None:
    """Locks a name for other writers until the transaction ends. Returns the last number assigned, if any."""
    query = select(VocabularyRow.version).where(VocabularyRow.name == name).with_for_update()
    return connection.scalar(query)


def write(connection: Connection, entry: Entry, vocabulary: Vocabulary, *, new_name: bool) -> None:
    """Adds a version, and deletes the versions beyond the newest `KEPT_VERSIONS`."""
    rows = VocabularyVersionRow
    head = {"version": entry.version, "deleted": False}
    if new_name:
        connection.execute(insert(VocabularyRow).values(name=entry.name, calibrations=0, **head))
    else:
        connection.execute(update(VocabularyRow).where(VocabularyRow.name == entry.name).values(**head))
    columns = {name: value for name, value in asdict(entry).items() if name not in _OF_CALIBRATION}
    connection.execute(insert(rows).values(labels=vocabulary.canonical_json(), **columns))
    numbers = select(rows.version).where(rows.name == entry.name).order_by(rows.version.desc())
    oldest_kept = connection.scalar(numbers.offset(KEPT_VERSIONS - 1).limit(1))
    connection.execute(delete(rows).where(rows.name == entry.name, rows.version < (oldest_kept or 0)))


def forget(connection: Connection, name: str) -> None:
    """Deletes all versions of a vocabulary, but keeps the last number."""
    connection.execute(delete(VocabularyVersionRow).where(VocabularyVersionRow.name == name))
    connection.execute(update(VocabularyRow).where(VocabularyRow.name == name).values(deleted=True))


def _entries() -> Select[str, int, str, int, datetime, int | None, datetime | None]:
    """All versions of vocabularies that are not deleted."""
    rows, calibrations = VocabularyVersionRow, CalibrationRow
    columns = rows.name, rows.version, rows.content_hash, rows.size, rows.created
    this = and_(calibrations.name == rows.name, calibrations.number == VocabularyRow.calibration)
    return (
        select(*columns, VocabularyRow.calibration, calibrations.created)
        .join(VocabularyRow, VocabularyRow.name == rows.name)
        .outerjoin(calibrations, this)
        .where(VocabularyRow.deleted.is_(False))
    )
