"""Remembers the vocabularies in use, so that a new checkpoint can encode them in advance."""

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock

from sigrl.model.vocabulary import Vocabulary

_MAX_VOCABULARIES = 64
_MAX_LABELS = 40_000


class RecentVocabularies:
    """The recently requested vocabularies, bounded by their number and their labels. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._used: OrderedDict[str, Vocabulary] = OrderedDict()
        self._labels = 0

    def note(self, vocabularies: Iterable[Vocabulary]) -> None:
        """Records that vocabularies were requested."""
        with self._lock:
            for vocabulary in vocabularies:
                self._drop(vocabulary.content_hash)
                self._used[vocabulary.content_hash] = vocabulary
                self._labels += len(vocabulary.labels)
            while len(self._used) > _MAX_VOCABULARIES or self._labels > _MAX_LABELS:
                self._drop(next(iter(self._used)))

    def all(self) -> list[Vocabulary]:
        """All remembered vocabularies, least recently used first."""
        with self._lock:
            return list(self._used.values())

    def _drop(self, content_hash: str) -> None:
        dropped = self._used.pop(content_hash, None)
        if dropped is not None:
            self._labels -= len(dropped.labels)
