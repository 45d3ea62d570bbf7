"""Tags the previews of an Immich library with any source of tags."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from sigrl.service.bulk.keyword_paths import KeywordPaths
from sigrl.service.bulk.tag_sources import Tagged, TagSource
from sigrl.service.errors import ImageError
from sigrl.service.immich.library import Library
from sigrl.service.schemas.tagging import VocabularyInfo

_AT_ONCE = 32
_CONNECTIONS = 4


class Previews:
    """A `TagSource` for the paths of `Library.photographs`."""

    def __init__(self, library: Library, source: TagSource) -> None:
        """`source` is given the downloaded previews."""
        self._library, self._source = library, source

    def made_by(self) -> tuple[str, tuple[VocabularyInfo, ...]]:
        """See `TagSource`."""
        return self._source.made_by()

    def tag(self, paths: Iterable[Path]) -> Iterator[Tagged]:
        """See `TagSource`. A few previews at a time are kept in a temporary folder."""
        paths = iter(paths)
        with ThreadPoolExecutor(_CONNECTIONS) as threads:
            while some := list(islice(paths, _AT_ONCE)):
                with TemporaryDirectory(prefix="sigrl-immich-") as folder:
                    files = list(threads.map(lambda path, into=folder: self._download(path, into), some))
                    arrived = [file for file in files if isinstance(file, Path)]
                    tagged = iter(self._source.tag(arrived))
                    for path, file in zip(some, files, strict=True):
                        yield path, file if isinstance(file, ImageError) else next(tagged)[1]

    def keyword_paths(self, vocabulary: str) -> KeywordPaths:
        """See `TagSource`."""
        return self._source.keyword_paths(vocabulary)

    def _download(self, path: Path, into: str) -> Path | ImageError:
        (asset, *_) = path.parts
        file = Path(into, asset)
        try:
            file.write_bytes(self._library.preview(asset))
        except ImageError as error:
            return error
        return file
