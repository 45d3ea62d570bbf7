"""Load on an HTTP server: a closed loop at its maximum throughput, or an open loop at a given rate."""

import asyncio
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
import numpy as np

_TIMEOUT_SECONDS = 30.0
_STEP = re.compile(r"(\w+);dur=([\d.]+)")


@dataclass
class Outcome:
    """The outcome of one phase of load, or the sum of several."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Latencies in seconds of responses with status 200, from when the request was due."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Number of requests by final status or exception."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.seconds + other.seconds,
            self.latencies + other.latencies,
            self.statuses + other.statuses,
        )

    @property
    def per_second(self) -> float:
        """Number of responses with status 200."""
        return len(self.latencies) / self.seconds

    def percentiles(self) -> list[float]:
        """The percentiles 50, 95 and 99 in milliseconds; empty without responses."""
        return [1000 * float(each) for each in np.percentile(self.latencies or [np.nan], (50, 95, 99))]


def as_form(photograph: bytes) -> dict[str, Any]:
    """Arguments of httpx's `post` for servers that accept a form."""
    return {"files": {"image": ("photo.jpg", photograph, "image/jpeg")}}


class Target:
    """An address to which photographs are sent in turn."""

    def __init__(
        self, url: str, photographs: Sequence[bytes], request: Callable[[bytes], dict[str, Any]] = as_form
    ) -> None:
        # Built in advance, so that their cost does not count against the server.
        self._url, self._requests = url, [_Built.of(request(each)) for each in photographs]

    def answers(self, timeout: float) -> bool:
        """Whether a photograph gets status 200 within one second, which shows that the queue is empty. Waits
        at most `timeout` seconds."""
        start = time.monotonic()
        try:
            built = self._requests[0]
            status = httpx.post(
                self._url, content=built.body, headers=built.headers, timeout=timeout
            ).status_code
        except httpx.HTTPError:
            return False
        return status == httpx.codes.OK and time.monotonic() - start < 1

    def timing(self, count: int) -> dict[str, float]:
        """Median milliseconds of each step in the header Server-Timing, over `count` photographs one after
        another; `total` is what the client waits."""
        steps: dict[str, list[float]] = {}
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            for number in range(count):
                built = self._requests[number % len(self._requests)]
                start = time.perf_counter()
                answer = client.post(self._url, content=built.body, headers=built.headers)
                steps.setdefault("total", []).append(1000 * (time.perf_counter() - start))
                answer.raise_for_status()
                for name, milliseconds in _STEP.findall(answer.headers.get("server-timing", "")):
                    steps.setdefault(name, []).append(float(milliseconds))
        return {name: statistics.median(values) for name, values in steps.items()}

    def saturate(self, seconds: float, clients: int) -> Outcome:
        """Closed loop: this many clients, each of which sends its next request after a response."""

        async def load(client: aiohttp.ClientSession, outcome: Outcome) -> None:
            end = time.perf_counter() + seconds

            async def one(number: int) -> None:
                while (now := time.perf_counter()) < end:
                    await self._send(client, outcome, now, number)

            await asyncio.gather(*(one(number) for number in range(clients)))

        return _measured(load)

    def at_rate(self, seconds: float, rate: float, middle: Callable[[], None] | None = None) -> Outcome:
        """Open loop: requests arrive at random (Poisson) at this rate per second, whether or not earlier ones
        are finished. `middle` is called in a thread half-way."""

        async def load(client: aiohttp.ClientSession, outcome: Outcome) -> None:
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

    async def _send(self, client: aiohttp.ClientSession, outcome: Outcome, due: float, number: int) -> None:
        built = self._requests[number % len(self._requests)]
        try:
            async with client.post(self._url, data=built.body, headers=built.headers) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome.statuses[type(error).__name__] += 1
            return
        outcome.statuses[str(answer.status)] += 1
        if answer.status == httpx.codes.OK:
            outcome.latencies.append(time.perf_counter() - due)


@dataclass(frozen=True)
class _Built:
    """The body of a request, and the headers that describe it."""

    body: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "_Built":
        """From the arguments of httpx's `post`."""
        request = httpx.Request("POST", "http://localhost", **arguments)
        return cls(request.read(), {"content-type": request.headers["content-type"]})


def _measured(load: Callable[[aiohttp.ClientSession, Outcome], Coroutine[Any, Any, None]]) -> Outcome:
    outcome = Outcome()

    async def run() -> None:
        # With aiohttp a request costs the machine a tenth of what it costs with httpx, 0.2 ms and not 2.
        timeout, connector = aiohttp.ClientTimeout(_TIMEOUT_SECONDS), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as client:
            start = time.perf_counter()
            await load(client, outcome)
            outcome.seconds = time.perf_counter() - start

    asyncio.run(run())
    return outcome
