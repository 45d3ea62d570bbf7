"""Caches encoded labels, so that a list of labels is encoded once and not for every photograph."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import fields
from threading import Lock

from sigrl.model.engine import LabelFeatures
from sigrl.service.batching.turns import AbandonedError
from sigrl.service.observability import metrics

Key = tuple[str, str, str]
"""(checkpoint id, hash of the labels' texts, identifier of the examples that the labels are fitted to)."""


class _OtherAbandonedError(Exception):
    """Another caller, which encoded the labels, was abandoned, but this caller was not."""


class LabelCache:
    """A cache of limited size in bytes that drops the least recently used entry first. Thread-safe.

    A vocabulary that several callers need at the same time is encoded once: the first caller encodes it, and
    the others wait and get its result or its exception. Failures are not cached. If the first caller is
    abandoned, one of the others encodes instead.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._entries: OrderedDict[Key, Future[LabelFeatures]] = OrderedDict()
        self._sizes: dict[Key, int] = {}

    def find(self, key: Key) -> LabelFeatures | None:
        """The features for `key` if they are in the cache, else None. Never waits."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.done():
                return None
            self._entries.move_to_end(key)
        metrics.LABEL_CACHE_HITS.inc()
        return entry.result()

    def get(self, key: Key, encode: Callable[[], LabelFeatures]) -> LabelFeatures:
        """The features for `key`, encoded on the first use."""
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
        """Records the size of the new entry and drops old ones. Entries still being encoded have no size yet,
        so they stay."""
        values = (getattr(features, field.name) for field in fields(features))
        with self._lock:
            self._sizes[key] = sum(value.nbytes for value in values if value is not None)
            for oldest in list(self._entries):
                if sum(self._sizes.values()) <= self._max_bytes:
                    break
                if oldest in self._sizes:
                    del self._entries[oldest], self._sizes[oldest]
            metrics.LABEL_CACHE_BYTES.set(sum(self._sizes.values()))
