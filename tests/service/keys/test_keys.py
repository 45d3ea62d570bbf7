"""API keys: scopes, rates and expiry."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sample_images as samples
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from sigrl.service.app import create_app
from sigrl.service.database.database import Database
from sigrl.service.database.tables import KeyRow
from sigrl.service.errors import StoreError
from sigrl.service.keys import ring
from sigrl.service.keys.key import KeyScope
from sigrl.service.keys.rates import Rates
from sigrl.service.keys.store import KeyStore
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

PHOTOGRAPH = samples.jpeg()


@pytest.fixture
def store() -> Iterator[KeyStore]:
    database = Database.open(Settings())
    yield KeyStore(database)
    database.close()


@pytest.fixture
def client(tagger: Tagger) -> Iterator[TestClient]:
    """A client of a service that requires keys."""
    with TestClient(create_app(Settings(keys="required"), tagger)) as client:
        yield client


def _sent(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _tag(client: TestClient, key: str | None = None, **headers: str) -> Any:
    return client.post("/v1/tag", content=PHOTOGRAPH, headers={**(_sent(key) if key else {}), **headers})


def _refused(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:sigrl:problem:{code}"
    assert ("www-authenticate" in response.headers) == (status == 401)
    return problem


def test_every_route_declares_its_scope(tagger: Tagger) -> None:
    document = create_app(Settings(), tagger).openapi()
    needs = {
        (method, path): [scope for scheme in operation.get("security", []) for scope in scheme["key"]]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len(needs) > 20
    for (method, path), scopes in needs.items():
        assert len(scopes) == (path not in ("/healthz", "/readyz", "/metrics")), (method, path)
    assert needs["post", "/v1/checkpoints/rollback"] == ["admin"]


def test_route_without_a_declared_scope_requires_admin(tagger: Tagger, store: KeyStore) -> None:
    app = create_app(Settings(keys="required"), tagger)
    router = APIRouter()
    router.get("/v1/forgotten")(lambda: "secret")
    app.include_router(router)
    with TestClient(app) as client:
        _, key = store.create("a", KeyScope.VOCABULARY)
        _refused(client.get("/v1/forgotten", headers=_sent(key)), 403, "missing-scope")
        _, key = store.create("b", KeyScope.ADMIN)
        assert client.get("/v1/forgotten", headers=_sent(key)).status_code == 200


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        (KeyScope.TAG, {"tag"}),
        (KeyScope.VOCABULARY, {"tag", "put"}),
        (KeyScope.ADMIN, {"tag", "put", "load"}),
    ],
)
def test_each_scope_includes_the_lower_scopes(
    client: TestClient, store: KeyStore, scope: KeyScope, allowed: set[str]
) -> None:
    _, key = store.create("somebody", scope)
    answers = {
        "tag": _tag(client, key),
        "put": client.put("/v1/vocabularies/mine", json=["dog"], headers=_sent(key)),
        "load": client.post("/v1/checkpoints/load", json={"bundle": "none"}, headers=_sent(key)),
    }
    assert {name for name, answer in answers.items() if answer.status_code != 403} == allowed
    for name in answers.keys() - allowed:
        assert "sigrl key create" in _refused(answers[name], 403, "missing-scope")["hint"]


def test_missing_or_invalid_key_is_rejected(client: TestClient, store: KeyStore) -> None:
    key, text = store.create("somebody", KeyScope.TAG)
    assert "sigrl key create" in _refused(_tag(client), 401, "missing-key")["hint"]
    others = f"sigrl_{key.id}_{'x' * 43}", f"sigrl_000000000000_{'x' * 43}"
    for bad in (text[:-1], *others, "sigrl__", "\xe9", text[6:]):
        sent = {b"Authorization": f"Bearer {bad}".encode("latin-1")}
        _refused(client.get("/v1/vocabularies", headers=sent), 401, "invalid-key")
    _refused(_tag(client, None, Authorization=f"Basic {text}"), 401, "invalid-key")
    assert _tag(client, None, Authorization=f"bearer {text}").status_code == 200
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert client.get(path).status_code == 200
    _refused(client.get("/v1/nothing", headers=_sent(text)), 403, "missing-scope")
    _refused(client.get("/v1/nothing"), 401, "missing-key")


def test_keys_are_required_under_a_path_prefix(tagger: Tagger) -> None:
    app = create_app(Settings(keys="required"), tagger)
    outer = FastAPI()
    outer.mount("/tagger", app)
    with TestClient(app), TestClient(outer) as mounted, TestClient(app, root_path="/tagger") as proxied:
        for client in (mounted, proxied):
            assert client.get("/tagger/healthz").status_code == 200
            for path in ("/tagger/v1/vocabularies", "/tagger/v1/nothing"):
                _refused(client.get(path), 401, "missing-key")


def test_body_is_not_read_without_a_key(tagger: Tagger) -> None:
    app = create_app(Settings(keys="required"), tagger)
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            raise AssertionError("the body is read")

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/checkpoints/load", "headers": headers}
        await app({**scope, "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1)}, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(
    ("listening", "client_address", "asked", "open_to_all"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:8000", True),
        ("localhost", "::1", "[::1]:8000", True),
        ("127.0.0.1", "127.0.0.1", "localhost", True),
        ("127.0.0.1", "10.0.0.7", "127.0.0.1", False),
        # A request through a proxy on this machine, and a web page whose host name resolves to this machine.
        ("127.0.0.1", "203.0.113.9", "tags.example.com", False),
        ("127.0.0.1", "127.0.0.1", "evil.example.com", False),
        ("127.0.0.1", "127.0.0.1", "[", False),
        ("0.0.0.0", "127.0.0.1", "127.0.0.1", False),
        ("192.168.0.2", "127.0.0.1", "localhost", False),
    ],
)
def test_only_local_requests_need_no_key(
    tagger: Tagger, listening: str, client_address: str, asked: str, open_to_all: bool
) -> None:
    app = create_app(Settings(keys="auto", host=listening), tagger)
    with TestClient(app, client=(client_address, 5)) as client:
        answer = client.get("/v1/vocabularies", headers={"Host": asked})
    assert answer.status_code == (200 if open_to_all else 401)


def test_revoked_or_expired_key_is_rejected(
    client: TestClient, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, one), (second, two) = (store.create(name, KeyScope.TAG, days=1) for name in ("one", "two"))
    assert _tag(client, one).status_code == _tag(client, two).status_code == 200
    store.revoke(first.id)
    with store._database.write() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(KeyRow).where(KeyRow.id == second.id).values(expires=past))
    monkeypatch.setattr(ring, "FRESH_SECONDS", 0.0)
    _refused(_tag(client, one), 401, "invalid-key")
    _refused(_tag(client, two), 401, "invalid-key")


def test_only_a_hash_of_the_key_is_stored(client: TestClient, store: KeyStore, data_folder: Path) -> None:
    key, text = store.create("somebody", KeyScope.TAG)
    assert _tag(client, text).status_code == 200
    secret = text.removeprefix(f"sigrl_{key.id}_")
    assert len(secret) == 43
    for path in data_folder.glob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()


def test_known_keys_work_during_a_database_outage(
    client: TestClient, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, known), (_, unknown) = (store.create(name, KeyScope.TAG) for name in ("one", "two"))
    assert _tag(client, known).status_code == 200
    monkeypatch.setattr(ring, "FRESH_SECONDS", 0.0)

    def find(*_: Any) -> None:
        raise StoreError("the database does not answer", "try again")

    monkeypatch.setattr(KeyStore, "find", find)
    assert _tag(client, known).status_code == 200
    _refused(_tag(client, unknown), 503, "store-unavailable")
    monkeypatch.setattr(ring, "STALE_SECONDS", 0.0)
    _refused(_tag(client, known), 503, "store-unavailable")


def test_each_key_has_its_own_rate_limit(tagger: Tagger, store: KeyStore) -> None:
    (_, one), (_, two), (_, free) = (
        store.create(name, KeyScope.TAG, rate) for name, rate in (("one", None), ("two", 1), ("free", 0))
    )
    with TestClient(create_app(Settings(keys="required", rate_per_minute=2), tagger)) as client:
        statuses = {key: [_tag(client, key).status_code for _ in range(4)] for key in (one, two, free)}
        assert list(statuses.values()) == [[200, 200, 429, 429], [200, 429, 429, 429], [200] * 4]
        refused = _tag(client, one)
        _refused(refused, 429, "rate-exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert client.get("/healthz").status_code == 200


def test_without_keys_each_address_has_its_own_rate_limit(tagger: Tagger) -> None:
    app = create_app(Settings(keys="off", rate_per_minute=1), tagger)
    for address in ("10.0.0.1", "10.0.0.2"):
        with TestClient(app, client=(address, 5)) as client:
            assert [client.get("/v1/vocabularies").status_code for _ in range(2)] == [200, 429]


def test_rate_buckets_refill_evenly_and_old_ones_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("sigrl.service.keys.rates.time.monotonic", lambda: now)
    monkeypatch.setattr("sigrl.service.keys.rates._MAX_BUCKETS", 2)
    rates = Rates()
    assert [rates.take("a", 60) for _ in range(60)] == [0.0] * 60
    assert rates.take("a", 60) == pytest.approx(1.0)
    now += 0.5
    assert rates.take("a", 60) == pytest.approx(0.5)
    now += 0.5
    assert rates.take("a", 60) == 0.0
    for other in ("b", "c"):
        rates.take(other, 60)
    assert len(rates._buckets) == 2
    assert rates.take("a", 60) == 0.0


def test_cors_is_allowed_only_for_configured_origins(tagger: Tagger, store: KeyStore) -> None:
    settings = Settings(keys="required", cors_origins=("https://photos.example.com",))
    _, key = store.create("page", KeyScope.TAG)
    with TestClient(create_app(settings, tagger)) as client:
        for origin, allowed in (("https://photos.example.com", True), ("https://evil.example.com", False)):
            asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            asking["Access-Control-Request-Headers"] = "authorization, idempotency-key"
            preflight = client.options("/v1/tag", headers=asking)
            assert (preflight.status_code == 200) == allowed
            answer = _tag(client, key, Origin=origin)
            assert answer.status_code == (200 if allowed else 403)
            assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        # Refusals must be readable too.
        assert "access-control-allow-origin" in _tag(client, Origin="https://photos.example.com").headers


def test_responses_have_security_headers(client: TestClient) -> None:
    for path in ("/healthz", "/v1/tag", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_key_commands_create_list_and_revoke_keys(sigrl: Any, client: TestClient) -> None:
    status, out, _ = sigrl(
        "key", "create", "the gallery", "--scope", "vocabulary", "--rate", 5, "--expires", 30
    )
    key = out.strip()
    assert status == 0
    assert _tag(client, key).status_code == 200
    _, out, _ = sigrl("key", "list", "--json")
    (row,) = map(json.loads, out.splitlines())
    assert (row["name"], row["scope"], row["rate"]) == ("the gallery", "vocabulary", 5)
    assert row["expires"] > row["created"]
    assert row["last_used"]
    assert key not in out
    _, out, _ = sigrl("key", "list")
    assert row["id"] in out
    assert "the gallery" in out
    assert sigrl("key", "revoke", row["id"])[:2] == (0, f"{row['id']} is revoked\n")
    status, _, err = sigrl("key", "revoke", row["id"])
    assert status == 2
    assert "sigrl key list" in err
