"""Records what a bulk run has found and done, in a SQLite file beside its output. The file stays correct if
the process is killed at any moment."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from sigrl.service.errors import ParameterError, TaggerError

Stamp: TypeAlias = tuple[int | None, int | None]
"""Size in bytes, and time of the last change in nanoseconds; None where it is not known."""

_AT_ONCE = 1000
# Only one run at a time may open the file: two would do the same work.
_SCHEMA = """
PRAGMA locking_mode = EXCLUSIVE;
BEGIN EXCLUSIVE;
CREATE TABLE IF NOT EXISTS made_by (what TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS photographs (
    path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, run INTEGER NOT NULL,
    content TEXT, error TEXT, sidecar TEXT
) WITHOUT ROWID;
COMMIT;
"""


@dataclass(frozen=True)
class Failure:
    """The reason why a photograph has no tags or no sidecar."""

    path: Path
    code: str
    detail: str
    hint: str


class Ledger:
    """The photographs of a run by path, size and modification time, with their tags as JSON."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises ParameterError if that fails or another run is using the file."""
        self._path = path
        try:
            self._database = sqlite3.connect(path, timeout=0.2)
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ParameterError(
                f"the progress file '{path}' cannot be used: {error}",
                "wait for another run of this command to end, or give another --out",
            ) from error
        row = self._database.execute("SELECT max(run) FROM photographs").fetchone()
        self._run = (row[0] or 0) + 1

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def check(self, made_by: dict[str, str]) -> None:
        """Records what makes the tags, or compares it with the record. Raises ParameterError if they differ:
        a table with tags of two checkpoints would mislead."""
        known = dict(self._database.execute("SELECT what, value FROM made_by"))
        for what, value in made_by.items():
            before = known.get(what, value)
            if before != value:
                raise ParameterError(
                    f"the {what} is now {_only_in(value, before)}, and was {_only_in(before, value)} for the "
                    "photographs that are done already",
                    f"give another --out, or delete '{self._path}' to tag everything again",
                )
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO made_by VALUES (?, ?)", made_by.items())

    def find(self, paths: Iterable[Path], stamp: Callable[[Path], Stamp]) -> int:
        """Records the photographs of this run and returns their number. Those whose stamp has changed count
        as not done."""
        paths = iter(paths)
        while batch := list(islice(paths, _AT_ONCE)):
            with self._database:
                self._database.executemany(
                    "INSERT INTO photographs (path, size, mtime, run) VALUES (?1, ?2, ?3, ?4) "
                    "ON CONFLICT (path) DO UPDATE SET run = ?4, error = NULL, size = ?2, mtime = ?3, "
                    "content = CASE WHEN size IS ?2 AND mtime IS ?3 THEN content END, "
                    "sidecar = CASE WHEN size IS ?2 AND mtime IS ?3 THEN sidecar END",
                    [(os.fsencode(path), *stamp(path), self._run) for path in batch],
                )
        return int(self._one("SELECT count(*) FROM photographs WHERE run = ?", self._run))

    def waiting(self) -> Iterator[Path]:
        """The photographs of this run without tags."""
        yield from self._paths("content IS NULL")

    def count_waiting(self) -> int:
        """The number of photographs of this run without tags."""
        return int(self._one("SELECT count(*) FROM photographs WHERE run = ? AND content IS NULL", self._run))

    def without_sidecar(self, kind: str) -> Iterator[tuple[Path, str]]:
        """(photograph, its tags) for each tagged photograph of this run without a sidecar of this kind."""
        for path in self._paths(f"content IS NOT NULL AND sidecar IS NOT '{kind}'"):
            yield path, str(self._one("SELECT content FROM photographs WHERE path = ?", os.fsencode(path)))

    def done(self, photographs: Iterable[tuple[Path, str, str | None]]) -> None:
        """Commits (photograph, its tags, kind of the sidecar that was written) for each photograph."""
        with self._database:
            self._database.executemany(
                "UPDATE photographs SET content = ?, sidecar = ? WHERE path = ?",
                [(content, sidecar, os.fsencode(path)) for path, content, sidecar in photographs],
            )

    def failed(self, path: Path, error: TaggerError) -> None:
        """Records why a photograph failed; the next run tries it again."""
        told = json.dumps([error.code, error.detail, error.hint])
        with self._database:
            self._database.execute(
                "UPDATE photographs SET error = ? WHERE path = ?", (told, os.fsencode(path))
            )

    def tagged(self) -> Iterator[tuple[Path, str]]:
        """(photograph, its tags) for each tagged photograph of this run, by path."""
        query = "SELECT path, content FROM photographs WHERE run = ? AND content IS NOT NULL ORDER BY path"
        for path, content in self._database.execute(query, (self._run,)):
            yield Path(os.fsdecode(path)), content

    def failures(self) -> Iterator[Failure]:
        """The failures of this run, by path."""
        query = "SELECT path, error FROM photographs WHERE run = ? AND error IS NOT NULL ORDER BY path"
        for path, told in self._database.execute(query, (self._run,)):
            yield Failure(Path(os.fsdecode(path)), *json.loads(told))

    def _paths(self, condition: str) -> Iterator[Path]:
        # Page by page, because a cursor may return a row twice if the row changes in the meantime.
        query = (
            f"SELECT path FROM photographs WHERE run = ? AND path > ? AND {condition} ORDER BY path LIMIT ?"
        )
        after = b""
        while page := self._database.execute(query, (self._run, after, _AT_ONCE)).fetchall():
            for (after,) in page:
                yield Path(os.fsdecode(after))

    def _one(self, query: str, *values: object) -> "int | str":
        value: int | str = self._database.execute(query, values).fetchone()[0]
        return value


def _only_in(one: str, other: str) -> str:
    """The parts of one list that the other does not have; all of them if there are none."""
    return ", ".join(part for part in one.split(", ") if part not in other.split(", ")) or one


def stamp_of_file(path: Path) -> Stamp:
    """The stamp of a file on this machine."""
    try:
        status = path.stat()
    except OSError:
        # The file has disappeared since it was found; tagging will report it.
        return None, None
    return status.st_size, status.st_mtime_ns
