"""The registry of vocabularies: the built-in ones, and those that users register, with their versions."""

import logging
from datetime import UTC, datetime
from functools import lru_cache
from typing import Self

from sqlalchemy.exc import IntegrityError

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.database.database import FILE_NAME, Database
from sigrl.service.errors import (
    ParameterError,
    ReadOnlyVocabularyError,
    StoreError,
    VocabularyNotFoundError,
)
from sigrl.service.settings import Settings
from sigrl.service.vocabularies import calibration_queries as calibrations
from sigrl.service.vocabularies import queries
from sigrl.service.vocabularies.builtin import BUILTIN, NAME, builtin
from sigrl.service.vocabularies.preconditions import Preconditions
from sigrl.service.vocabularies.queries import Entry

_MAX_PARSED = 32
_logger = logging.getLogger("sigrl")


def builtin_entry(name: str) -> Entry:
    """The entry of a built-in vocabulary."""
    vocabulary = builtin(name)
    return Entry(name, None, vocabulary.content_hash, len(vocabulary.labels), None)


class VocabularyRegistry:
    """The vocabularies of an installation. Safe to share between threads, processes and machines.

    All methods raise StoreError if the database does not answer. Methods that take a name raise
    VocabularyNotFoundError, and ReadOnlyVocabularyError or ParameterError if they change something.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._newest: dict[str, Entry] = {}
        # The highest numbers seen, so that none is used again after the database is restored.
        self._numbers: dict[str, int] = {}
        # The cache key is the whole entry with its content hash, because a version number may appear again
        # after the database is restored.
        self._parsed = lru_cache(_MAX_PARSED)(self._parse)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Opens the registry in the database that the settings name. Raises ParameterError, StoreError."""
        return cls(Database.open(settings))

    def close(self) -> None:
        """Closes the database's connections."""
        self.database.close()

    def get(self, name: str, version: int | None = None) -> Vocabulary:
        """A vocabulary in its newest version, or in the given one.

        While the database does not answer, the newest version is the last one that this process read.
        """
        try:
            entry = self.entry(name, version)
        except StoreError:
            known = self._newest.get(name)
            if known is None or version is not None:
                raise
            entry = known
        if entry.version is None:
            return builtin(name)
        return self._parsed(entry)

    def entry(self, name: str, version: int | None = None) -> Entry:
        """The entry of a vocabulary in its newest version, or in the given one."""
        if name in BUILTIN and version is None:
            return builtin_entry(name)
        if not NAME.fullmatch(name):
            # Not every database accepts every string.
            raise _not_found(name, version)
        with self.database.read() as connection:
            entry = queries.find(connection, name, version)
        if version is None:
            self._remember(name, entry)
        return found(entry, name, version)

    def entries(self, after: str = "", limit: int = 100) -> list[Entry]:
        """The built-in vocabularies, then all others by name, starting after the one named `after`."""
        shipped = BUILTIN[BUILTIN.index(after) + 1 :] if after in BUILTIN else () if after else BUILTIN
        entries = [builtin_entry(name) for name in shipped[:limit]]
        with self.database.read() as connection:
            after = "" if after in BUILTIN else after
            return entries + queries.page(connection, after, limit - len(entries))

    def versions(self, name: str, before: int | None = None, limit: int = 100) -> list[Entry]:
        """The kept versions, newest first, starting after the one numbered `before`."""
        if name in BUILTIN:
            return [builtin_entry(name)]
        self.entry(name)
        with self.database.read() as connection:
            return queries.history(connection, name, before, limit)

    def put(
        self, name: str, vocabulary: Vocabulary, preconditions: Preconditions | None = None
    ) -> tuple[Entry, bool]:
        """Registers the labels under a name; the vocabulary's own name and version do not matter.

        Returns (the newest version, whether the name is new). No version is added if the newest one already
        has these labels. Raises PreconditionError if the preconditions are not met.
        """
        _refuse_builtin(name)
        if not NAME.fullmatch(name):
            raise ParameterError(
                f"a vocabulary's name cannot be {name[:80]!a}",
                "use at most 64 of a-z, 0-9 and -, and do not begin with -",
            )
        try:
            return self._put(name, vocabulary, preconditions or Preconditions())
        except IntegrityError:
            # Two requests created it at once; for the second one, it exists now.
            return self._put(name, vocabulary, preconditions or Preconditions())

    def delete(self, name: str, preconditions: Preconditions | None = None) -> None:
        """Deletes a vocabulary with all its versions; their numbers are not used again. Raises
        PreconditionError."""
        _refuse_builtin(name)
        if not NAME.fullmatch(name):
            raise _not_found(name)
        with self.database.write() as connection:
            queries.lock(connection, name)
            entry = queries.find(connection, name)
            (preconditions or Preconditions()).check(entry.etag if entry else None)
            found(entry, name)
            queries.forget(connection, name)
            calibrations.forget(connection, name)

    def _put(self, name: str, vocabulary: Vocabulary, preconditions: Preconditions) -> tuple[Entry, bool]:
        with self.database.write() as connection:
            last = queries.lock(connection, name)
            newest = queries.find(connection, name)
            preconditions.check(newest.etag if newest else None)
            if newest is not None and queries.labels(connection, newest) == vocabulary.canonical_json():
                return newest, False
            entry = Entry(
                name,
                max(last or 0, self._numbers.get(name, 0)) + 1,
                vocabulary.content_hash,
                len(vocabulary.labels),
                datetime.now(UTC),
                None if newest is None else newest.calibration,
                None if newest is None else newest.calibrated,
            )
            queries.write(connection, entry, vocabulary, new_name=last is None)
        self._remember(name, entry)
        return entry, newest is None

    def _parse(self, entry: Entry) -> Vocabulary:
        with self.database.read() as connection:
            labels = queries.labels(connection, entry)
        if labels is None:
            raise _not_found(entry.name, entry.version)
        vocabulary = Vocabulary.from_json(labels, entry.name)
        return vocabulary.model_copy(
            update={
                "version": entry.version,
                "calibration": entry.calibration,
                "calibrated": entry.calibrated,
            }
        )

    def _remember(self, name: str, newest: Entry | None) -> None:
        if newest is None or newest.version is None:
            self._newest.pop(name, None)
            return
        known = self._newest.get(name)
        if known is not None and _went_back(known, newest):
            _logger.warning("the database was restored from an older state: all vocabularies are read again")
            self._newest.clear()
            self._parsed.cache_clear()
        self._newest[name] = newest
        self._numbers[name] = max(newest.version, self._numbers.get(name, 0))


def registered(name: str, settings: Settings) -> Vocabulary | None:
    """A vocabulary from the settings' database; None if it has none of that name. A missing database is not
    created. Raises ParameterError, StoreError."""
    if settings.database_url is None and not (settings.data / FILE_NAME).exists():
        return None
    registry = VocabularyRegistry.open(settings)
    try:
        return registry.get(name)
    except VocabularyNotFoundError:
        return None
    finally:
        registry.close()


def found(entry: Entry | None, name: str, version: int | None = None) -> Entry:
    """Returns `entry`. Raises VocabularyNotFoundError if it is None."""
    if entry is None:
        raise _not_found(name, version)
    return entry


def _went_back(known: Entry, newest: Entry) -> bool:
    """Whether `newest` is older than the entry read before, or differs from it under the same number."""
    if known.version is None or newest.version is None:
        return False
    return newest.version < known.version or (
        newest.version == known.version
        and (newest.content_hash, newest.created) != (known.content_hash, known.created)
    )


def _not_found(name: str, version: int | None = None) -> VocabularyNotFoundError:
    which = "" if version is None else f" in version {version}"
    hint = "GET /v1/vocabularies and `sigrl vocab list` show all vocabularies"
    return VocabularyNotFoundError(f"there is no vocabulary {name[:80]!a}{which}", hint)


def _refuse_builtin(name: str) -> None:
    if name in BUILTIN:
        raise ReadOnlyVocabularyError(
            f"the vocabulary '{name}' ships with the package", "register yours under another name"
        )
