"""Runs a bulk job to its end, from the beginning or from where it was stopped."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sigrl.service.bulk.keyword_paths import KeywordPaths
from sigrl.service.bulk.ledger import Ledger, Stamp, stamp_of_file
from sigrl.service.bulk.sidecars import write_sidecar
from sigrl.service.bulk.tag_sources import TagSource
from sigrl.service.bulk.writing import write_failures, writer
from sigrl.service.errors import ImageError, SidecarError, StoreError
from sigrl.service.schemas.tagging import VocabularyInfo
from sigrl.service.terminal import Renderer

# If the process is killed, at most this many photographs are tagged again.
_AT_ONCE = 8


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    tagged: int
    """Photographs in the output."""
    failed: int
    """Photographs without tags or without a sidecar."""
    failures: Path
    """The CSV file that lists the failed photographs."""


def tag_in_bulk(
    source: TagSource,
    photographs: Iterable[Path],
    out: Path,
    selection: str,
    sidecar: str | None,
    renderer: Renderer,
    stamp: Callable[[Path], Stamp] = stamp_of_file,
) -> Summary:
    """Tags the photographs that are not done yet, and writes all tags to `out`. A photograph that fails does
    not stop the run.

    Args:
        source: tags with one vocabulary.
        photographs: read once, and not kept in memory.
        out: see `sigrl.service.bulk.writing.writer`; the ledger of finished photographs lies beside it.
        selection: a description of which labels become tags; the ledger refuses a different one.
        sidecar: a kind of `sigrl.service.bulk.sidecars.write_sidecar`; None writes no sidecars.
        renderer: shows the progress.
        stamp: tells whether a photograph has changed since an earlier run.

    Raises:
        ParameterError: earlier photographs were tagged differently, or `out` cannot be written.
        StoreError: the ledger cannot be written.
    """
    with open_ledger(out, {"selection of tags": selection}) as ledger:
        sidecars = _Sidecars(source, ledger, sidecar)
        found = find_photographs(source, ledger, photographs, renderer, stamp)
        if sidecar is not None:
            for path, content in ledger.without_sidecar(sidecar):
                ledger.done([(path, content, sidecars.write(path, content))])
        tag_waiting(source, ledger, sidecars.write, renderer)
        return write_tags(ledger, found, out, renderer)


@contextmanager
def open_ledger(out: Path, made_with: dict[str, str]) -> Iterator[Ledger]:
    """Opens the ledger that lies beside `out`. Raises ParameterError if its tags were made with other
    settings or if `out` cannot be written, and StoreError if the ledger cannot be written."""
    writer(out)
    ledger = Ledger(out.with_name(out.name + ".ledger"))
    try:
        ledger.check(made_with)
        yield ledger
    except sqlite3.Error as error:
        raise StoreError(
            f"the progress cannot be written: {error}",
            "free disk space; the same command then continues",
        ) from error
    finally:
        ledger.close()


def find_photographs(
    source: TagSource,
    ledger: Ledger,
    photographs: Iterable[Path],
    renderer: Renderer,
    stamp: Callable[[Path], Stamp],
) -> int:
    """Records the photographs in the ledger and returns their number. Raises ParameterError if earlier ones
    were tagged differently."""
    checkpoint, vocabularies = source.made_by()
    for vocabulary in vocabularies:
        ledger.check(_made_by(checkpoint, vocabulary))
    with renderer.phase("looking for photographs"):
        return ledger.find(photographs, stamp)


def tag_waiting(
    source: TagSource, ledger: Ledger, write_sidecar: Callable[[Path, str], str | None], renderer: Renderer
) -> None:
    """Tags the photographs that wait in the ledger, and records tags and errors there.

    Args:
        source: tags with one vocabulary.
        write_sidecar: called with a photograph and its tags; returns the kind of the sidecar that it wrote.
    """
    with renderer.phase("tagging", ledger.count_waiting()) as progress:
        done: list[tuple[Path, str, str | None]] = []
        for number, (path, result) in enumerate(source.tag(ledger.waiting()), 1):
            if isinstance(result, ImageError):
                ledger.failed(path, result)
            else:
                renderer.warn(result)
                (tagging,) = result
                # A server may have activated another checkpoint in the meantime.
                ledger.check(_made_by(tagging.checkpoint, tagging.vocabulary))
                content = tagging.model_dump_json()
                done.append((path, content, write_sidecar(path, content)))
            if len(done) == _AT_ONCE:
                ledger.done(done)
                done.clear()
            progress(number)
        ledger.done(done)


def write_tags(ledger: Ledger, found: int, out: Path, renderer: Renderer) -> Summary:
    """Writes what the ledger has of this run's `found` photographs to `out`, and the failures beside it."""
    with renderer.phase(f"writing {out.name}"):
        writer(out)(out, ledger.tagged())
        failures = out.with_name(out.stem + ".errors.csv")
        failed = write_failures(failures, ledger.failures())
    return Summary(found - ledger.count_waiting(), failed, failures)


class _Sidecars:
    """Writes sidecars of one kind, or of none."""

    def __init__(self, source: TagSource, ledger: Ledger, kind: str | None) -> None:
        self._source, self._ledger, self._kind = source, ledger, kind
        # A server's hierarchy is asked for once. `tag_in_bulk` checks that the vocabulary stays the same.
        self._paths: KeywordPaths | None = None

    def write(self, path: Path, content: str) -> str | None:
        """Writes the sidecar; returns its kind, or None if none is wanted or it could not be written."""
        if self._kind is None:
            return None
        if self._paths is None:
            self._paths = self._source.keyword_paths(json.loads(content)["vocabulary"]["name"])
        try:
            write_sidecar(self._kind, path, content, self._paths)
        except SidecarError as error:
            self._ledger.failed(path, error)
            return None
        return self._kind


def _made_by(checkpoint: str, vocabulary: VocabularyInfo) -> dict[str, str]:
    calibration = "" if vocabulary.calibration is None else f", calibration {vocabulary.calibration}"
    looked_for = f"{vocabulary.name} ({vocabulary.hash}{calibration})"
    return {"checkpoint": checkpoint, "vocabulary": looked_for}
