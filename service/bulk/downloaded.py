"""Tags photographs that are downloaded first."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from sigrl.service.bulk.keyword_paths import KeywordPaths
from sigrl.service.bulk.tag_sources import Tagged, TagSource
from sigrl.service.errors import ImageError
from sigrl.service.schemas.tagging import VocabularyInfo

Download: TypeAlias = Callable[[Path], bytes]
"""The content of a photograph. Raises ImageError for one that cannot be had."""

_AHEAD = 32


class Downloaded:
    """A `TagSource` for photographs elsewhere."""

    def __init__(self, source: TagSource, download: Download, connections: int) -> None:
        """`source` tags the downloaded files; `download` is called in as many threads as `connections`."""
        self._source, self._download, self._connections = source, download, connections

    def made_by(self) -> tuple[str, tuple[VocabularyInfo, ...]]:
        """See `TagSource`."""
        return self._source.made_by()

    def tag(self, paths: Iterable[Path]) -> Iterator[Tagged]:
        """See `TagSource`. While some are tagged, the next ones are downloaded into a temporary folder."""
        arrived: deque[tuple[Path, Path | ImageError]] = deque()

        def files(folder: str) -> Iterator[Path]:
            for path, file in self._downloads(paths, Path(folder)):
                arrived.append((path, file))
                if isinstance(file, Path):
                    yield file

        with TemporaryDirectory(prefix="sigrl-") as folder:
            for file, result in self._source.tag(files(folder)):
                yield from _failed(arrived)
                path, _ = arrived.popleft()
                file.unlink()
                yield path, result
            yield from _failed(arrived)

    def keyword_paths(self, vocabulary: str) -> KeywordPaths:
        """See `TagSource`."""
        return self._source.keyword_paths(vocabulary)

    def _downloads(self, paths: Iterable[Path], folder: Path) -> Iterator[tuple[Path, Path | ImageError]]:
        waiting: deque[tuple[Path, Future[Path | ImageError]]] = deque()
        with ThreadPoolExecutor(self._connections, "sigrl-download") as threads:
            for number, path in enumerate(paths):
                waiting.append((path, threads.submit(self._into, folder / str(number), path)))
                if len(waiting) == _AHEAD:
                    first, file = waiting.popleft()
                    yield first, file.result()
            for path, file in waiting:
                yield path, file.result()

    def _into(self, file: Path, path: Path) -> Path | ImageError:
        try:
            file.write_bytes(self._download(path))
        except ImageError as error:
            return error
        return file


def _failed(arrived: "deque[tuple[Path, Path | ImageError]]") -> Iterator[Tagged]:
    """Takes the photographs that failed from the beginning of the queue."""
    while arrived:
        path, error = arrived[0]
        if not isinstance(error, ImageError):
            return
        arrived.popleft()
        yield path, error
