"""Encoded labels, kept so that a list of labels is encoded once and not for every photograph."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import fields
from threading import Lock

from sigrl.model.engine import LabelFeatures
from sigrl.service.batching.turns import AbandonedError
from sigrl.service.observability import metrics

Key = tuple[str, str, str]
"""(checkpoint id, hash of the labels' texts, which examples they are fitted to)."""


class _OtherAbandonedError(Exception):
    """The caller that encoded was abandoned, and this one was not."""


class LabelCache:
    """Least recently used first out, bounded by bytes, safe for threads.

    Concurrent first uses of one vocabulary encode it once: the first caller encodes, and the others wait for
    its result or get its exception. A failure is not remembered. Where the first caller is abandoned, one of
    the others encodes in its place.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._entries: OrderedDict[Key, Future[LabelFeatures]] = OrderedDict()
        self._sizes: dict[Key, int] = {}

    def find(self, key: Key) -> LabelFeatures | None:
        """The features under `key`, if they are there: never waits."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.done():
                return None
            self._entries.move_to_end(key)
        metrics.LABEL_CACHE_HITS.inc()
        return entry.result()

    def get(self, key: Key, encode: Callable[[], LabelFeatures]) -> LabelFeatures:
        """The features under `key`, encoded on the first use."""
        while True:
            try:
                return self._find_or_encode(key, encode)
            except _OtherAbandonedError:
                continue

    def _find_or_encode(self, key: Key, encode: Callable[[], LabelFeatures]) -> LabelFeatures:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                metrics.LABEL_CACHE_HITS.inc()
            else:
                mine: Future[LabelFeatures] = Future()
                self._entries[key] = mine
                metrics.LABEL_CACHE_MISSES.inc()
        if entry is not None:
            try:
                return entry.result()
            except AbandonedError as error:
                raise _OtherAbandonedError from error
        try:
            features = encode()
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            mine.set_exception(error)
            raise
        mine.set_result(features)
        self._account(key, features)
        return features

    def _account(self, key: Key, features: LabelFeatures) -> None:
        """Books the new entry and drops old ones; those still being encoded have no size yet and stay."""
        values = (getattr(features, field.name) for field in fields(features))
        with self._lock:
            self._sizes[key] = sum(value.nbytes for value in values if value is not None)
            for oldest in list(self._entries):
                if sum(self._sizes.values()) <= self._max_bytes:
                    break
                if oldest in self._sizes:
                    del self._entries[oldest], self._sizes[oldest]
            metrics.LABEL_CACHE_BYTES.set(sum(self._sizes.values()))
