from collections.abc import Iterator

import httpx
import pytest
from fake_engine import FakeEngine
from two_checkpoints import serving

from sigrl.service.app import create_app
from sigrl.service.database.database import Database
from sigrl.service.keys.key import KeyScope
from sigrl.service.keys.store import KeyStore
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger


@pytest.fixture
def key() -> str:
    """A key of scope `vocabulary` for `server`."""
    settings = Settings(keys="required")
    _, key = KeyStore(Database.open(settings)).create("other-client", KeyScope.VOCABULARY)
    return key


@pytest.fixture
def server(key: str) -> Iterator[httpx.Client]:
    """The service on a socket, with the engine that sees colours. Its address is `server.base_url`; every
    request needs a key, and the client sends it."""
    app = create_app(Settings(keys="required", max_images=8), Tagger(engine=FakeEngine()))
    with serving(app) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client
