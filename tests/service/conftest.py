import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

from service import cli
from service.app import create_app
from service.settings import Settings
from service.tagger import Tagger


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

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sigrl", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(caught.value.code or 0), out, err

    return call
