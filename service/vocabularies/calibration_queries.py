"""The database queries for calibrations."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from sigrl.service.database.tables import (
    CalibrationRow,
    ExampleFeaturesRow,
    ExamplePhotographRow,
    ExampleRow,
    VocabularyRow,
)
from sigrl.service.schemas.calibration import CalibrationGoal
from sigrl.service.vocabularies.examples import Calibration, Example

KEPT_CALIBRATIONS = 100
"""The number kept for each vocabulary; a new one then replaces the oldest."""
KEPT_CHECKPOINTS = 5
"""Features of examples are kept for this many checkpoints, those that computed some most recently."""
_AT_ONCE = 500


def find(connection: Connection, name: str, number: int) -> Calibration | None:
    """A calibration with its examples; None if it does not exist."""
    rows = CalibrationRow
    query = select(rows.goal, rows.created).where(rows.name == name, rows.number == number)
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    examples = tuple((digest, shown) for digest, shown in current(connection, name, number).items())
    return Calibration(number, CalibrationGoal.model_validate_json(found.goal), found.created, examples)


def current(connection: Connection, name: str, number: int) -> dict[str, dict[str, bool]]:
    """What the examples of a calibration show, by digest."""
    rows = ExampleRow
    in_force = rows.added <= number, or_(rows.removed.is_(None), rows.removed > number)
    query = select(rows.digest, rows.shown).where(rows.name == name, *in_force).order_by(rows.digest)
    return {digest: json.loads(shown) for digest, shown in connection.execute(query)}


def number_in_force(connection: Connection, name: str) -> tuple[int | None, int]:
    """(number of the current calibration, last number assigned)."""
    row = select(VocabularyRow.calibration, VocabularyRow.calibrations).where(VocabularyRow.name == name)
    number, last = connection.execute(row).one()
    return number, last


def write(
    connection: Connection,
    name: str,
    number: int,
    goal: CalibrationGoal,
    changed: Mapping[str, Mapping[str, bool] | None],
) -> None:
    """Adds a calibration and makes it the current one. `changed` says what each changed example shows from
    now on; None removes the example."""
    now, rows = datetime.now(UTC), ExampleRow
    values = {"name": name, "number": number, "goal": goal.model_dump_json(), "created": now}
    connection.execute(insert(CalibrationRow).values(**values))
    for digests in _parts(list(changed)):
        holding = rows.name == name, rows.digest.in_(digests), rows.removed.is_(None)
        connection.execute(update(rows).where(*holding).values(removed=number))
    added = [
        {"name": name, "digest": digest, "added": number, "removed": None, "shown": json.dumps(dict(shown))}
        for digest, shown in changed.items()
        if shown is not None
    ]
    if added:
        connection.execute(insert(rows), added)
    _set(connection, name, calibration=number, calibrations=number)
    oldest = number - KEPT_CALIBRATIONS + 1
    connection.execute(
        delete(CalibrationRow).where(CalibrationRow.name == name, CalibrationRow.number < oldest)
    )
    connection.execute(delete(rows).where(rows.name == name, rows.removed <= oldest))
    _drop_photographs(connection)


def forget(connection: Connection, name: str) -> None:
    """Deletes all calibrations of a vocabulary, and the photographs that no other vocabulary needs."""
    connection.execute(delete(ExampleRow).where(ExampleRow.name == name))
    connection.execute(delete(CalibrationRow).where(CalibrationRow.name == name))
    _set(connection, name, calibration=None)
    _drop_photographs(connection)


def add_photographs(connection: Connection, examples: Sequence[Example]) -> None:
    """Stores the copies of photographs that are not stored yet."""
    contents = {example.digest: example.photograph for example in examples}
    for digest in known_photographs(connection, list(contents)):
        del contents[digest]
    rows = [{"digest": digest, "content": content} for digest, content in contents.items()]
    if rows:
        connection.execute(insert(ExamplePhotographRow), rows)


def known_photographs(connection: Connection, digests: Sequence[str]) -> set[str]:
    """The digests of photographs of which a copy is stored."""
    rows, known = ExamplePhotographRow, set[str]()
    for part in _parts(digests):
        known.update(connection.scalars(select(rows.digest).where(rows.digest.in_(part))))
    return known


def photographs(connection: Connection, digests: Sequence[str]) -> dict[str, bytes]:
    """The stored copies of photographs, by digest."""
    rows, found = ExamplePhotographRow, dict[str, bytes]()
    for part in _parts(digests):
        query = select(rows.digest, rows.content).where(rows.digest.in_(part))
        found.update((row.digest, row.content) for row in connection.execute(query))
    return found


def features(connection: Connection, checkpoint: str, digests: Sequence[str]) -> dict[str, bytes]:
    """The stored features of examples for a checkpoint, by digest."""
    rows, found = ExampleFeaturesRow, dict[str, bytes]()
    for part in _parts(digests):
        query = select(rows.digest, rows.content).where(rows.checkpoint == checkpoint, rows.digest.in_(part))
        found.update((row.digest, row.content) for row in connection.execute(query))
    return found


def add_features(connection: Connection, checkpoint: str, contents: Mapping[str, bytes]) -> None:
    """Stores features, unless the photograph has been deleted or its features are already stored."""
    wanted = known_photographs(connection, list(contents))
    wanted -= features(connection, checkpoint, list(wanted)).keys()
    now, rows = datetime.now(UTC), ExampleFeaturesRow
    added = [
        {"checkpoint": checkpoint, "digest": digest, "content": contents[digest], "created": now}
        for digest in sorted(wanted)
    ]
    if added:
        connection.execute(insert(rows), added)
    newest = select(rows.checkpoint).group_by(rows.checkpoint).order_by(func.max(rows.created).desc())
    old = connection.scalars(newest.offset(KEPT_CHECKPOINTS)).all()
    if old:
        connection.execute(delete(rows).where(rows.checkpoint.in_(old)))


def _set(connection: Connection, name: str, **values: int | None) -> None:
    connection.execute(update(VocabularyRow).where(VocabularyRow.name == name).values(**values))


def _drop_photographs(connection: Connection) -> None:
    needed = select(ExampleRow.digest)
    for rows in (ExampleFeaturesRow, ExamplePhotographRow):
        connection.execute(delete(rows).where(rows.digest.not_in(needed)))


def _parts(digests: Sequence[str]) -> Iterator[Sequence[str]]:
    """Splits digests into parts, because databases limit the number of values in a statement."""
    for start in range(0, len(digests), _AT_ONCE):
        yield digests[start : start + _AT_ONCE]
