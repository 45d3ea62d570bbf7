"""Photographs on their way to a server, and what came back of which."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from sigrl.service.client.failures import of_problem
from sigrl.service.errors import (
    ImageError,
    ImageTooLargeError,
    RequestTooLargeError,
    ServerError,
    TaggerError,
)
from sigrl.service.images import files as image_files
from sigrl.service.images.files import ImageLimits
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.schemas.tags import FailedImage, TaggedImage, TagLine, TagLineBySeveral

LIMITS = ImageLimits()
"""What a server takes by default."""
_BATCH_BYTES = LIMITS.max_bytes // 2


@dataclass(frozen=True)
class Upload:
    """A photograph that was read."""

    filename: str
    data: bytes


Source: TypeAlias = str | Path | bytes | Upload
"""A path, or a file's content, with a name or without."""


@dataclass(frozen=True)
class Result:
    """What became of one of many photographs."""

    index: int
    """Its place among those that were given, from 0."""
    outcome: tuple[Tagging, ...] | TaggerError
    """Its tags by each vocabulary, or why there are none."""

    @property
    def tagging(self) -> Tagging:
        """Its tags where one vocabulary was asked for. Raises the error."""
        if isinstance(self.outcome, TaggerError):
            raise self.outcome
        return self.outcome[0]


def read(source: Source) -> Upload:
    """Raises ImageNotFoundError, ImageTooLargeError."""
    if isinstance(source, Upload):
        return source
    if isinstance(source, bytes):
        return Upload("photograph", source)
    data = image_files.read(Path(source), LIMITS)
    # A name may hold bytes that are no text.
    return Upload(os.path.basename(source).encode(errors="replace").decode(), data)


@dataclass
class Batch:
    """Some of many photographs: as many as go into a request, and less with every answer."""

    refused: list[Result] = field(default_factory=list)
    """Those that were not sent at all."""
    waiting: dict[int, Upload] = field(default_factory=dict)
    """By their places among all, those without an answer."""
    _sent: Sequence[int] = ()
    _at_once: int = sys.maxsize

    def uploads(self) -> list[Upload]:
        """What is to be sent next: all without an answer, or as many as the server takes."""
        self._sent = list(self.waiting)[: self._at_once]
        return [self.waiting[index] for index in self._sent]

    def take(self, line: TagLine | TagLineBySeveral) -> Result:
        """The result that a line of the answer is."""
        index = self._sent[line.index]
        del self.waiting[index]
        image = line.image
        if isinstance(image, FailedImage):
            return Result(index, of_problem(image.error))
        infos = (line.vocabulary,) if isinstance(line, TagLine) else line.vocabularies
        warnings = (line.warnings,) if isinstance(line, TagLine) else line.warnings or ((),) * len(infos)
        found = (image,) if isinstance(image, TaggedImage) else image.results
        taggings = (
            Tagging(
                tags=each.tags,
                implied=each.implied,
                guesses=each.guesses,
                checkpoint=line.checkpoint,
                vocabulary=info,
                warnings=told,
            )
            for each, info, told in zip(found, infos, warnings, strict=True)
        )
        return Result(index, tuple(taggings))

    def too_large(self, error: RequestTooLargeError) -> list[Result]:
        """The request was larger than the server takes: fewer go into the next, and one that was alone has
        its result."""
        if len(self._sent) > 1:
            self._at_once = len(self._sent) // 2
            return []
        (index,) = self._sent
        del self.waiting[index]
        return [Result(index, ImageTooLargeError(error.detail, error.hint))]

    def check_complete(self) -> None:
        """The answer has ended. Raises ServerError unless it was whole."""
        if missing := self.waiting.keys() & set(self._sent):
            detail = f"the answer ends before {len(missing)} of {len(self._sent)} photographs"
            raise ServerError(detail, "look into the server's log")


def batches(photographs: Iterable[Source], at_once: int) -> Iterator[Batch]:
    """Reads photographs as they are needed: at most `at_once` together, and of large ones fewer."""
    batch, size = Batch(), 0
    for index, source in enumerate(photographs):
        try:
            upload = read(source)
        except ImageError as error:
            batch.refused.append(Result(index, error))
            continue
        if batch.waiting and (len(batch.waiting) == at_once or size + len(upload.data) > _BATCH_BYTES):
            yield batch
            batch, size = Batch(), 0
        batch.waiting[index] = upload
        size += len(upload.data)
    yield batch
