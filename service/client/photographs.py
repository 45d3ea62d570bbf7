"""The photographs sent to a server, and the result of each."""

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
"""A server's default limits."""
_BATCH_BYTES = LIMITS.max_bytes // 2


@dataclass(frozen=True)
class Upload:
    """A photograph file in memory."""

    filename: str
    data: bytes


Source: TypeAlias = str | Path | bytes | Upload
"""A path, or a file's content with or without a name."""


@dataclass(frozen=True)
class Result:
    """The result for one of many photographs."""

    index: int
    """Its position among the given photographs, from 0."""
    outcome: tuple[Tagging, ...] | TaggerError
    """Its tags from each vocabulary, or the error that it failed with."""

    @property
    def tagging(self) -> Tagging:
        """Its tags from the only vocabulary that was requested. Raises its error if it failed."""
        if isinstance(self.outcome, TaggerError):
            raise self.outcome
        return self.outcome[0]


def read(source: Source) -> Upload:
    """Reads a photograph into memory. Raises ImageNotFoundError, ImageTooLargeError."""
    if isinstance(source, Upload):
        return source
    if isinstance(source, bytes):
        return Upload("photograph", source)
    data = image_files.read(Path(source), LIMITS)
    # A file name may contain bytes that are not valid text.
    return Upload(os.path.basename(source).encode(errors="replace").decode(), data)


@dataclass
class Batch:
    """The photographs of one request; those that have their result are removed."""

    refused: list[Result] = field(default_factory=list)
    """The results of photographs that could not be read and were not sent."""
    waiting: dict[int, Upload] = field(default_factory=dict)
    """The photographs without a result, by their position among all photographs."""
    _sent: Sequence[int] = ()
    _at_once: int = sys.maxsize

    def uploads(self) -> list[Upload]:
        """The photographs to send next: all without a result, or as many as the server accepts."""
        self._sent = list(self.waiting)[: self._at_once]
        return [self.waiting[index] for index in self._sent]

    def take(self, line: TagLine | TagLineBySeveral) -> Result:
        """The result in one line of the response."""
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
        """Handles a request that was too large for the server: halves the next one, or returns the error as
        the result of a photograph that was sent alone."""
        if len(self._sent) > 1:
            self._at_once = len(self._sent) // 2
            return []
        (index,) = self._sent
        del self.waiting[index]
        return [Result(index, ImageTooLargeError(error.detail, error.hint))]

    def check_complete(self) -> None:
        """Raises ServerError if the response ended before it had a result for every photograph sent."""
        if missing := self.waiting.keys() & set(self._sent):
            detail = f"the response lacks {len(missing)} of {len(self._sent)} photographs"
            raise ServerError(detail, "see the server's log")


def batches(photographs: Iterable[Source], at_once: int) -> Iterator[Batch]:
    """Reads photographs lazily into batches of at most `at_once`, fewer if the files are large."""
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
