import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

from sigrl.service import cli
from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where settings put what outlives a process: never the folder of the person who runs the tests."""
    monkeypatch.setenv("SIGRL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SIGRL_DATABASE_URL", raising=False)
    monkeypatch.delenv("SIGRL_SERVER", raising=False)
    monkeypatch.delenv("SIGRL_API_KEY", raising=False)
    # A TestClient is no client on this machine; keys have tests of their own.
    monkeypatch.setenv("SIGRL_KEYS", "off")
    return tmp_path / "data"


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.PostgresServer]:
    """A real server, for as long as the tests run; skips where PostgreSQL is not installed."""
    if postgres_server.find() is None:
        pytest.skip("PostgreSQL is not installed here")
    with postgres_server.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest) -> Settings:
    """Settings with an empty database of either kind."""
    if request.param == "sqlite":
        return Settings()
    return Settings(database_url=request.getfixturevalue("postgres").new_database())


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def tagger(engine: FakeEngine) -> Tagger:
    return Tagger(engine=engine)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """Half red, half blue."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(samples.jpeg())
    return path


@pytest.fixture
def client(tagger: Tagger) -> Iterator[TestClient]:
    settings = Settings(max_request_bytes=2 * 1024 * 1024, max_images=4)
    with TestClient(create_app(settings, tagger), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def sigrl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`sigrl(*arguments)` runs the command in this process and gives (status, stdout, stderr)."""
    # `sigrl serve` sets handlers that end the process, which here would be pytest's.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # It also sends all logs to this test's stderr, which is closed afterwards.
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    log_handlers = [(logger, list(logger.handlers), logger.level) for logger in loggers]

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sigrl", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(caught.value.code or 0), out, err

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)
    logging.captureWarnings(False)
    for logger in [logging.getLogger(name) for name in logging.root.manager.loggerDict]:
        logger.handlers.clear()
    for logger, of_logger, level in log_handlers:
        logger.handlers[:] = of_logger
        logger.setLevel(level)
