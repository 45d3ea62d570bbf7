"""Stores the calibrations of an installation's vocabularies, with their examples."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from sigrl.model.kept_features import KeptFeatures
from sigrl.service.database.database import Database
from sigrl.service.errors import CalibrationNotFoundError, ExamplesError, ReadOnlyVocabularyError
from sigrl.service.schemas.calibration import CalibrationGoal
from sigrl.service.vocabularies import calibration_queries as queries
from sigrl.service.vocabularies import queries as vocabularies
from sigrl.service.vocabularies.builtin import BUILTIN
from sigrl.service.vocabularies.examples import Calibration, Example
from sigrl.service.vocabularies.registry import found

_MAX_READ = 64


class CalibrationStore:
    """The calibrations in the database. Safe to share between threads, processes and machines.

    All methods raise StoreError if the database does not answer. Methods that take a vocabulary's name raise
    VocabularyNotFoundError, and ReadOnlyVocabularyError if they change something."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # A calibration never changes, but after the database is restored, another one may get its number.
        self._read = lru_cache(_MAX_READ)(self._find)

    def get(self, name: str, number: int, created: datetime | None = None) -> Calibration:
        """A calibration by its number. With `created`, only a calibration made at that time is found, and it
        is cached. Raises CalibrationNotFoundError."""
        return self._find(name, number, None) if created is None else self._read(name, number, created)

    def add(
        self, name: str, examples: Sequence[Example], goal: CalibrationGoal, *, replace: bool, limit: int
    ) -> int:
        """Makes a calibration from the given examples and, unless `replace` is set, the existing ones;
        returns its number. A new mark for a label on a photograph replaces the old one.

        Raises ExamplesError if there would be more examples than `limit`, or none for a goal that needs some.
        """
        _refuse_builtin(name)
        try:
            return self._add(name, examples, goal, replace, limit)
        except IntegrityError:
            # Another request stored the same photograph for another vocabulary at the same time.
            return self._add(name, examples, goal, replace, limit)

    def check(self, name: str) -> None:
        """Raises an error if a vocabulary cannot be calibrated: it is built in or does not exist."""
        _refuse_builtin(name)
        with self._database.read() as connection:
            found(vocabularies.find(connection, name), name)

    def forget(self, name: str) -> None:
        """Deletes a vocabulary's calibrations with their photographs."""
        _refuse_builtin(name)
        with self._database.write() as connection:
            _lock(connection, name)
            queries.forget(connection, name)

    def photographs(self, digests: Sequence[str]) -> dict[str, bytes]:
        """The copies of examples, by digest; examples that have been deleted are missing."""
        with self._database.read() as connection:
            return queries.photographs(connection, digests)

    def features(self, checkpoint: str, digests: Sequence[str]) -> dict[str, KeptFeatures]:
        """The features that are stored for a checkpoint, by digest of the example."""
        with self._database.read() as connection:
            kept = queries.features(connection, checkpoint, digests)
        return {digest: KeptFeatures.from_bytes(content) for digest, content in kept.items()}

    def keep_features(self, checkpoint: str, features: Mapping[str, KeptFeatures]) -> None:
        """Stores a checkpoint's features of examples."""
        contents = {digest: kept.to_bytes() for digest, kept in features.items()}
        try:
            with self._database.write() as connection:
                queries.add_features(connection, checkpoint, contents)
        except IntegrityError:
            # Another replica with the same checkpoint was faster.
            return

    def _add(
        self, name: str, examples: Sequence[Example], goal: CalibrationGoal, replace: bool, limit: int
    ) -> int:
        with self._database.write() as connection:
            _lock(connection, name)
            number, last = queries.number_in_force(connection, name)
            before = {} if number is None else queries.current(connection, name, number)
            changed: dict[str, Mapping[str, bool] | None] = dict.fromkeys(before) if replace else {}
            kept = {} if replace else before
            for example in examples:
                known = changed.get(example.digest) or kept.get(example.digest, {})
                changed[example.digest] = {**known, **example.shown}
            _check(len(kept.keys() | changed.keys() - _dropped(changed)), goal, limit)
            queries.add_photographs(connection, examples)
            queries.write(connection, name, last + 1, goal, changed)
        return last + 1

    def _find(self, name: str, number: int, created: datetime | None) -> Calibration:
        with self._database.read() as connection:
            calibration = queries.find(connection, name, number)
        if calibration is None or created not in (None, calibration.created):
            raise not_calibrated(name)
        return calibration


def not_calibrated(name: str) -> CalibrationNotFoundError:
    """The error for a vocabulary without this calibration."""
    return CalibrationNotFoundError(
        f"the vocabulary {name[:80]!a} has no such calibration",
        "make one: POST /v1/vocabularies/{name}/calibrate, `sigrl vocab calibrate`",
    )


def _lock(connection: Connection, name: str) -> None:
    vocabularies.lock(connection, name)
    found(vocabularies.find(connection, name), name)


def _refuse_builtin(name: str) -> None:
    if name in BUILTIN:
        raise ReadOnlyVocabularyError(
            f"the vocabulary '{name}' ships with the package",
            "register a copy of it under another name, and calibrate that",
        )


def _dropped(changed: Mapping[str, Mapping[str, bool] | None]) -> Iterable[str]:
    return [digest for digest, shown in changed.items() if shown is None]


def _check(count: int, goal: CalibrationGoal, limit: int) -> None:
    if count > limit:
        raise ExamplesError(
            f"the vocabulary would have {count:,} examples, at most {limit:,} are kept",
            "a few hundred are enough; replace them, or set SIGRL_CALIBRATION_EXAMPLES higher",
        )
    if not count and goal.kind != "false-positive-rate":
        raise ExamplesError(
            "there are no examples",
            "send photographs with their labels, or choose the goal false-positive-rate, which needs none",
        )
