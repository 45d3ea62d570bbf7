"""Remembers the vocabularies in use, so that a new checkpoint can encode them in advance."""

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock

from sigrl.model.vocabulary import Vocabulary


class RecentVocabularies:
    """The recently requested vocabularies, bounded by their number and their labels. Thread-safe."""

    def __init__(self, max_vocabularies: int = 64, max_labels: int = 40_000) -> None:
        self._max_vocabularies, self._max_labels = max_vocabularies, max_labels
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
            while len(self._used) > self._max_vocabularies or self._labels > self._max_labels:
                self._drop(next(iter(self._used)))

    def all(self) -> list[Vocabulary]:
        """All remembered vocabularies, least recently used first."""
        with self._lock:
            return list(self._used.values())

    def _drop(self, content_hash: str) -> None:
        dropped = self._used.pop(content_hash, None)
        if dropped is not None:
            self._labels -= len(dropped.labels)
