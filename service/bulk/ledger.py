"""What a bulk run has found and done: a SQLite file beside its output, true after a kill at any moment."""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sigrl.service.errors import ParameterError, TaggerError

_AT_ONCE = 1000
# The file is opened by one run at a time: two would do the same work.
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
    """Why a photograph has no tags, or no sidecar."""

    path: Path
    code: str
    detail: str
    hint: str


class Ledger:
    """Photographs of a run by path, size and time of change, with their tags as JSON."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises ParameterError where that cannot be, or another run has it."""
        self._path = path
        try:
            self._database = sqlite3.connect(path, timeout=0.2)
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise ParameterError(
                f"'{path}', which notes what is done, cannot be used: {error}",
                "let another run of the same command end first, or name another --out",
            ) from error
        row = self._database.execute("SELECT max(run) FROM photographs").fetchone()
        self._run = (row[0] or 0) + 1

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def check(self, made_by: dict[str, str]) -> None:
        """Notes what tags are made by, or compares it with what was noted. Raises ParameterError where that
        has changed: a table with tags of two checkpoints would mislead."""
        known = dict(self._database.execute("SELECT what, value FROM made_by"))
        for what, value in made_by.items():
            if known.get(what, value) != value:
                raise ParameterError(
                    f"the {what} is {value}, and what is done already was done with {known[what]}",
                    f"name another --out, or delete '{self._path}' to tag everything anew",
                )
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO made_by VALUES (?, ?)", made_by.items())

    def find(self, paths: Iterable[Path]) -> int:
        """Notes the photographs of this run, those that have changed as not done; how many there are."""
        paths = iter(paths)
        while batch := list(islice(paths, _AT_ONCE)):
            with self._database:
                self._database.executemany(
                    "INSERT INTO photographs (path, size, mtime, run) VALUES (?1, ?2, ?3, ?4) "
                    "ON CONFLICT (path) DO UPDATE SET run = ?4, error = NULL, size = ?2, mtime = ?3, "
                    "content = CASE WHEN size IS ?2 AND mtime IS ?3 THEN content END, "
                    "sidecar = CASE WHEN size IS ?2 AND mtime IS ?3 THEN sidecar END",
                    [(os.fsencode(path), *_stamp(path), self._run) for path in batch],
                )
        return int(self._one("SELECT count(*) FROM photographs WHERE run = ?", self._run))

    def waiting(self) -> Iterator[Path]:
        """Photographs of this run without tags."""
        yield from self._paths("content IS NULL")

    def count_waiting(self) -> int:
        """How many of them there are."""
        return int(self._one("SELECT count(*) FROM photographs WHERE run = ? AND content IS NULL", self._run))

    def without_sidecar(self, kind: str) -> Iterator[tuple[Path, str]]:
        """(photograph, its tags) of those that have no sidecar of this kind."""
        for path in self._paths(f"content IS NOT NULL AND sidecar IS NOT '{kind}'"):
            yield path, str(self._one("SELECT content FROM photographs WHERE path = ?", os.fsencode(path)))

    def done(self, photographs: Iterable[tuple[Path, str, str | None]]) -> None:
        """Notes (photograph, its tags, kind of the sidecar that was written) for good."""
        with self._database:
            self._database.executemany(
                "UPDATE photographs SET content = ?, sidecar = ? WHERE path = ?",
                [(content, sidecar, os.fsencode(path)) for path, content, sidecar in photographs],
            )

    def failed(self, path: Path, error: TaggerError) -> None:
        """Notes why; the next run tries again."""
        told = json.dumps([error.code, error.detail, error.hint])
        with self._database:
            self._database.execute(
                "UPDATE photographs SET error = ? WHERE path = ?", (told, os.fsencode(path))
            )

    def tagged(self) -> Iterator[tuple[Path, str]]:
        """(photograph, its tags) of this run, by path."""
        query = "SELECT path, content FROM photographs WHERE run = ? AND content IS NOT NULL ORDER BY path"
        for path, content in self._database.execute(query, (self._run,)):
            yield Path(os.fsdecode(path)), content

    def failures(self) -> Iterator[Failure]:
        """Of this run, by path."""
        query = "SELECT path, error FROM photographs WHERE run = ? AND error IS NOT NULL ORDER BY path"
        for path, told in self._database.execute(query, (self._run,)):
            yield Failure(Path(os.fsdecode(path)), *json.loads(told))

    def _paths(self, condition: str) -> Iterator[Path]:
        # Page by page: a cursor over rows that change meanwhile may show them twice.
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


def _stamp(path: Path) -> tuple[int | None, int | None]:
    try:
        status = path.stat()
    except OSError:
        # Gone since it was found: tagging says so.
        return None, None
    return status.st_size, status.st_mtime_ns
