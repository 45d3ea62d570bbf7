"""`sigrl serve` as a process of its own, with the fake engine in it unless told otherwise."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
from fake_engine import FakeEngine, FakeFeatures

from sigrl.model.vocabulary import Vocabulary

LONG = 60.0


class ServiceProcess:
    """The process from its start to its end; settings by their names without SIGRL_.

    `delay`: seconds that the model takes for each batch; None: the engine is the real one, with the bundled
    checkpoint if no other is set.
    """

    def __init__(
        self,
        folder: Path,
        delay: float | None = 0,
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        self._log = folder / "service.log"
        given = {f"SIGRL_{name.upper()}": str(value) for name, value in settings.items()}
        paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
        self._environment = {
            **os.environ,
            "PYTHONPATH": paths,
            "DELAY": "" if delay is None else str(delay),
            "SIGRL_DATA": str(folder / "data"),
            **given,
            **(environment or {}),
        }

    def __enter__(self) -> "ServiceProcess":
        with self._log.open("wb") as log:
            command = [sys.executable, __file__, "serve", "--port", "0"]
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=self._environment)
        wait_until(lambda: self.process.poll() is not None or "running on" in self.log)
        found = re.search(r"running on (http://[\d.]+:\d+)", self.log)
        assert found, self.log
        self.url = found[1]
        self.client = httpx.Client(base_url=self.url, timeout=LONG)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return self._log.read_text()

    @property
    def records(self) -> list[dict[str, object]]:
        """The same, where every line is a JSON object."""
        return [json.loads(line) for line in self.log.splitlines()]

    def metric(self, name: str) -> float:
        """A sample as GET /metrics gives it, 0 if it is not there."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def stop(self) -> int:
        """Tells it to stop, and gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONG)


class PendingRequest(threading.Thread):
    """A request in a thread, and its answer."""

    def __init__(self, process: ServiceProcess, **options: object) -> None:
        super().__init__()
        self._options = {"url": process.url + "/v1/tag", "timeout": LONG, **options}
        self.answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        self.answer = httpx.post(**self._options)  # type: ignore[arg-type]

    def result(self) -> httpx.Response:
        self.join(LONG)
        assert self.answer is not None
        return self.answer


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.005)


class _Engine(FakeEngine):
    """Takes `fault` for a label that nobody foresaw, and `stuck` for one that never ends."""

    def encode_labels(
        self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None
    ) -> FakeFeatures:
        if "fault" in vocabulary.names:
            logging.getLogger("sigrl").warning("this will not go well")
            raise RuntimeError("nobody foresaw this")
        if "stuck" in vocabulary.names:
            threading.Event().wait()
        return super().encode_labels(vocabulary, progress)


if __name__ == "__main__":
    import sigrl.service.tagging.tagger
    from sigrl.service import cli

    if delay := os.environ["DELAY"]:
        sigrl.service.tagging.tagger.load_engine = lambda *_: _Engine(delay=float(delay))  # type: ignore[attr-defined,assignment]
    cli.main()
