"""Vocabularies by name: those that ship with the package, and those that users register, in versions."""

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
    """The entry of a vocabulary of the package."""
    vocabulary = builtin(name)
    return Entry(name, None, vocabulary.content_hash, len(vocabulary.labels), None)


class VocabularyRegistry:
    """The vocabularies of an installation. Safe to share between threads, processes and machines.

    All methods raise StoreError when the database does not answer, and those that take a name
    VocabularyNotFoundError or, for changes, ReadOnlyVocabularyError and ParameterError.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._newest: dict[str, Entry] = {}
        # The highest numbers seen: a restore of the database must not make them be given out again.
        self._numbers: dict[str, int] = {}
        # By all that an entry says, its content's hash included: numbers alone may come again after a
        # restore.
        self._parsed = lru_cache(_MAX_PARSED)(self._parse)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """On the database that the settings name. Raises ParameterError, StoreError."""
        return cls(Database.open(settings))

    def close(self) -> None:
        """Gives back the database's connections."""
        self.database.close()

    def get(self, name: str, version: int | None = None) -> Vocabulary:
        """A vocabulary in its newest version, or in the given one.

        While the database does not answer, the newest one is the one that was the newest when it last did.
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
        """The same without its labels."""
        if name in BUILTIN and version is None:
            return builtin_entry(name)
        if not NAME.fullmatch(name):
            # Not every database takes every text.
            raise _not_found(name, version)
        with self.database.read() as connection:
            entry = queries.find(connection, name, version)
        if version is None:
            self._remember(name, entry)
        return found(entry, name, version)

    def entries(self, after: str = "", limit: int = 100) -> list[Entry]:
        """What ships with the package, then all others by name; from behind the one named `after` on."""
        shipped = BUILTIN[BUILTIN.index(after) + 1 :] if after in BUILTIN else () if after else BUILTIN
        entries = [builtin_entry(name) for name in shipped[:limit]]
        with self.database.read() as connection:
            after = "" if after in BUILTIN else after
            return entries + queries.page(connection, after, limit - len(entries))

    def versions(self, name: str, before: int | None = None, limit: int = 100) -> list[Entry]:
        """The versions that are kept, newest first; from behind the one numbered `before` on."""
        if name in BUILTIN:
            return [builtin_entry(name)]
        self.entry(name)
        with self.database.read() as connection:
            return queries.history(connection, name, before, limit)

    def put(
        self, name: str, vocabulary: Vocabulary, preconditions: Preconditions | None = None
    ) -> tuple[Entry, bool]:
        """Registers the labels under a name; the vocabulary's own name and version do not matter.

        Gives the newest version, and whether the name is new. Labels that are the newest version's already
        make no new one. Raises PreconditionError when the preconditions do not hold.
        """
        _refuse_builtin(name)
        if not NAME.fullmatch(name):
            raise ParameterError(
                f"a vocabulary cannot be named {name[:80]!a}",
                "use a-z, 0-9 and -, at most 64 of them, the first no -",
            )
        try:
            return self._put(name, vocabulary, preconditions or Preconditions())
        except IntegrityError:
            # Two created it at once: for whoever came second it is there now.
            return self._put(name, vocabulary, preconditions or Preconditions())

    def delete(self, name: str, preconditions: Preconditions | None = None) -> None:
        """Forgets a vocabulary with all its versions, but not their numbers. Raises PreconditionError."""
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
            if newest is not None and newest.content_hash == vocabulary.content_hash:
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
            _logger.warning("the database was restored from an older state: everything is read anew")
            self._newest.clear()
            self._parsed.cache_clear()
        self._newest[name] = newest
        self._numbers[name] = max(newest.version, self._numbers.get(name, 0))


def registered(name: str, settings: Settings) -> Vocabulary | None:
    """A vocabulary of the settings' database, or None where there is none of that name; nothing is made where
    there is no database. Raises ParameterError, StoreError."""
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
    """The entry of a name. Raises VocabularyNotFoundError where there is none."""
    if entry is None:
        raise _not_found(name, version)
    return entry


def _went_back(known: Entry, newest: Entry) -> bool:
    """Whether an entry is older than one that was read before, or another one under the same number."""
    if known.version is None or newest.version is None:
        return False
    return newest.version < known.version or (
        newest.version == known.version
        and (newest.content_hash, newest.created) != (known.content_hash, known.created)
    )


def _not_found(name: str, version: int | None = None) -> VocabularyNotFoundError:
    which = "" if version is None else f" in version {version}"
    hint = "GET /v1/vocabularies and `sigrl vocab list` tell which there are"
    return VocabularyNotFoundError(f"there is no vocabulary {name[:80]!a}{which}", hint)


def _refuse_builtin(name: str) -> None:
    if name in BUILTIN:
        raise ReadOnlyVocabularyError(
            f"the vocabulary '{name}' ships with the package", "register yours under another name"
        )
