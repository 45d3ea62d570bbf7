"""The header Idempotency-Key: a repeated request gets the answer to the first one."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sigrl.service.errors import IdempotencyKeyError
from sigrl.service.observability import metrics

REMEMBERED_SECONDS = 600.0
_LONGEST_KEY = 255


@dataclass(eq=False)
class Attempt:
    """One request with a given key."""

    fingerprint: str
    answer: bytes | None = None
    """Already set for a repeated request. The first request sets it when it succeeds."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    expires: float = 0.0


class Answers:
    """Keeps answers by key for ten minutes. If they exceed `max_bytes`, the oldest are dropped. A failed
    request leaves no answer, so a repeated request is processed again. Belongs to one event loop."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self._kept: OrderedDict[str, Attempt] = OrderedDict()
        self._running: dict[str, Attempt] = {}
        self._bytes = 0

    @asynccontextmanager
    async def once(self, key: str | None, fingerprint: str) -> AsyncIterator[Attempt]:
        """Yields the attempt for `key`. Its `answer` is either already set or may be set within the block.

        If another request with the same key is running, this one waits for it, and takes over if the other
        fails or its client disconnects. Without a key, nothing is remembered.

        Raises IdempotencyKeyError if the key is unusable or was used for a different request.
        """
        if key is None:
            yield Attempt(fingerprint)
            return
        if not (0 < len(key) <= _LONGEST_KEY and key.isprintable()):
            raise IdempotencyKeyError(
                f"the Idempotency-Key has {len(key)} characters, or some of them cannot be printed",
                f"give 1 to {_LONGEST_KEY} characters, a random UUID for instance",
            )
        while (running := self._running.get(key)) is not None:
            _check(running, fingerprint)
            await running.ended.wait()
        self._forget_expired()
        if (kept := self._kept.get(key)) is not None:
            _check(kept, fingerprint)
            metrics.ANSWERS_REPEATED.inc()
            yield kept
            return
        mine = self._running[key] = Attempt(fingerprint)
        try:
            yield mine
        finally:
            del self._running[key]
            mine.ended.set()
            self._keep(key, mine)

    def _keep(self, key: str, attempt: Attempt) -> None:
        if attempt.answer is None or len(attempt.answer) > self._max_bytes:
            return
        attempt.expires = self._clock() + REMEMBERED_SECONDS
        self._kept[key] = attempt
        self._bytes += len(attempt.answer)
        while self._bytes > self._max_bytes:
            self._forget_oldest()

    def _forget_expired(self) -> None:
        while self._kept and next(iter(self._kept.values())).expires <= self._clock():
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, oldest = self._kept.popitem(last=False)
        self._bytes -= len(oldest.answer or b"")


def _check(attempt: Attempt, fingerprint: str) -> None:
    if attempt.fingerprint != fingerprint:
        raise IdempotencyKeyError(
            "this Idempotency-Key was used for another request", "use a new key for each request"
        )
