"""Runs a bulk job to its end, from the beginning or from where it was stopped."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sigrl.service.bulk.keyword_paths import KeywordPaths
from sigrl.service.bulk.ledger import Ledger
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

    Raises:
        ParameterError: earlier photographs were tagged differently, or `out` cannot be written.
        StoreError: the ledger cannot be written.
    """
    write = writer(out)
    ledger = Ledger(out.with_name(out.name + ".ledger"))
    try:
        ledger.check({"selection of tags": selection})
        checkpoint, vocabularies = source.made_by()
        for vocabulary in vocabularies:
            ledger.check(_made_by(checkpoint, vocabulary))
        with renderer.phase("looking for photographs"):
            found = ledger.find(photographs)
        sidecars = _Sidecars(source, ledger, sidecar)
        if sidecar is not None:
            for path, content in ledger.without_sidecar(sidecar):
                ledger.done([(path, content, sidecars.write(path, content))])
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
                    done.append((path, content, sidecars.write(path, content)))
                if len(done) == _AT_ONCE:
                    ledger.done(done)
                    done.clear()
                progress(number)
            ledger.done(done)
        with renderer.phase(f"writing {out.name}"):
            write(out, ledger.tagged())
            failures = out.with_name(out.stem + ".errors.csv")
            failed = write_failures(failures, ledger.failures())
        return Summary(found - ledger.count_waiting(), failed, failures)
    except sqlite3.Error as error:
        raise StoreError(
            f"the progress cannot be written: {error}",
            "free disk space; the same command then continues",
        ) from error
    finally:
        ledger.close()


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
