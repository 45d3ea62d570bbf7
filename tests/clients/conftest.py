import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from two_checkpoints import serving

from sigrl import Tagger
from sigrl.service.app import create_app
from sigrl.service.database.database import Database
from sigrl.service.keys.key import KeyScope
from sigrl.service.keys.store import KeyStore
from sigrl.service.settings import Settings

Run = Callable[..., str]


@pytest.fixture(scope="session")
def clients() -> Path:
    """The folder that `install.sh` made; skips if there is none."""
    if "SIGRL_CLIENTS" not in os.environ:
        pytest.skip("SIGRL_CLIENTS is not set; see tests/clients/install.sh")
    return Path(os.environ["SIGRL_CLIENTS"])


@pytest.fixture(scope="session")
def node_modules(clients: Path) -> Path:
    """What `install.sh` installed with npm; skips if Node.js was not there."""
    folder = clients / "node_modules"
    if not folder.is_dir():
        pytest.skip("Node.js was not there when tests/clients/install.sh ran")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(program, *arguments)` in `tmp_path` gives what a program prints, and fails with it."""

    def call(program: Path | str, *arguments: Path | str) -> str:
        command = [str(each) for each in (program, *arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


@pytest.fixture
def server(tiny_bundle: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """The service with the tiny bundle, on a socket; the client sends a key, which every request needs."""
    settings = Settings(data=tmp_path / "data", keys="required")
    _, key = KeyStore(Database.open(settings)).create("client", KeyScope.VOCABULARY)
    with serving(create_app(settings, Tagger(tiny_bundle))) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


@pytest.fixture
def key(server: httpx.Client) -> str:
    return server.headers["Authorization"].partition(" ")[2]


@pytest.fixture
def document(server: httpx.Client, tmp_path: Path) -> Path:
    """The OpenAPI document, as a file."""
    path = tmp_path / "openapi.json"
    path.write_bytes(server.get("/openapi.json").content)
    return path
