"""Load on an HTTP server: as much as it takes, or at a stated rate whatever it does with it."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

_TIMEOUT_SECONDS = 30.0


@dataclass
class Outcome:
    """Of one phase of load, or of several that are added."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds of those answered with 200, from when they should have been sent."""
    statuses: Counter[str] = field(default_factory=Counter)
    """How many ended with which status, or with which exception."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.seconds + other.seconds,
            self.latencies + other.latencies,
            self.statuses + other.statuses,
        )

    @property
    def per_second(self) -> float:
        """Those answered with 200."""
        return len(self.latencies) / self.seconds

    def percentiles(self) -> list[float]:
        """50, 95 and 99, in milliseconds; none where nothing was answered."""
        return [1000 * float(each) for each in np.percentile(self.latencies or [np.nan], (50, 95, 99))]


def as_form(photograph: bytes) -> dict[str, Any]:
    """What httpx's `post` takes, for servers that take a form."""
    return {"files": {"image": ("photo.jpg", photograph, "image/jpeg")}}


class Target:
    """An address that photographs are sent to, in turn."""

    def __init__(
        self, url: str, photographs: Sequence[bytes], request: Callable[[bytes], dict[str, Any]] = as_form
    ) -> None:
        # Made beforehand: what they cost is no server's.
        self._url, self._requests = url, [request(each) for each in photographs]

    def answers(self, timeout: float) -> bool:
        """Whether a photograph is answered with 200 within so many seconds and, so that nothing can have been
        queued before it, in one."""
        start = time.monotonic()
        try:
            status = httpx.post(self._url, **self._requests[0], timeout=timeout).status_code
        except httpx.HTTPError:
            return False
        return status == httpx.codes.OK and time.monotonic() - start < 1

    def saturate(self, seconds: float, clients: int) -> Outcome:
        """So many clients, each of which sends the next when it is answered."""

        async def load(client: httpx.AsyncClient, outcome: Outcome) -> None:
            end = time.perf_counter() + seconds

            async def one(number: int) -> None:
                while (now := time.perf_counter()) < end:
                    await self._send(client, outcome, now, number)

            await asyncio.gather(*(one(number) for number in range(clients)))

        return _measured(load)

    def at_rate(self, seconds: float, rate: float, middle: Callable[[], None] | None = None) -> Outcome:
        """Open loop: so many a second arrive at random (Poisson), answered or not. `middle` is called in a
        thread half-way."""

        async def load(client: httpx.AsyncClient, outcome: Outcome) -> None:
            arrivals = random.Random(0)
            start = due = time.perf_counter()
            sent: list[asyncio.Task[None]] = []
            called: asyncio.Future[None] | None = None
            while (due := due + arrivals.expovariate(rate)) < start + seconds:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if middle is not None and called is None and due > start + seconds / 2:
                    called = asyncio.get_running_loop().run_in_executor(None, middle)
                sent.append(asyncio.create_task(self._send(client, outcome, due, len(sent))))
            await asyncio.gather(*sent, *([called] if called is not None else []))

        return _measured(load)

    async def _send(self, client: httpx.AsyncClient, outcome: Outcome, due: float, number: int) -> None:
        try:
            answer = await client.post(self._url, **self._requests[number % len(self._requests)])
        except httpx.HTTPError as error:
            outcome.statuses[type(error).__name__] += 1
            return
        outcome.statuses[str(answer.status_code)] += 1
        if answer.status_code == httpx.codes.OK:
            outcome.latencies.append(time.perf_counter() - due)


def _measured(load: Callable[[httpx.AsyncClient, Outcome], Coroutine[Any, Any, None]]) -> Outcome:
    outcome = Outcome()

    async def run() -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, limits=limits) as client:
            start = time.perf_counter()
            await load(client, outcome)
            outcome.seconds = time.perf_counter() - start

    asyncio.run(run())
    return outcome
