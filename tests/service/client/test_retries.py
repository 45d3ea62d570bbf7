"""The client's retries, against a fake server with scripted failures."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from client.scripted_server import Reply, problem, scripted

from sigrl.service.errors import (
    DriftError,
    ImageTooLargeError,
    InvalidLabelsError,
    NotReadyError,
    OverloadedError,
    PreconditionError,
    ServerError,
    TaggerError,
)

INFO = {"name": "labels", "version": None, "hash": "sha256:0", "size": 1, "calibration": None}
IMAGE = {"filename": "x", "tags": []}
ANSWER = Reply(content=json.dumps({"checkpoint": "c", "vocabulary": INFO, "images": [IMAGE]}).encode())
EMPTY = Reply(content=json.dumps({"checkpoint": "c"}).encode())


def _lines(*indices: int, cut: bool = False) -> Reply:
    lines = [{"index": i, "checkpoint": "c", "vocabulary": INFO, "image": IMAGE} for i in indices]
    return Reply(content="".join(json.dumps(line) + "\n" for line in lines).encode(), cut=cut)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the clients would have made."""
    pauses: list[float] = []

    async def later(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("sigrl.service.client.synchronous.sleep", pauses.append)
    monkeypatch.setattr("sigrl.service.client.asynchronous.sleep", later)
    return pauses


def test_retries_respect_retry_after_and_keep_the_idempotency_key(
    call: Callable[..., Any], pauses: list[float]
) -> None:
    proxy = Reply(503, b"<html>", {"Retry-After": "2"})
    with scripted(problem("overloaded", 429, 7), proxy, problem("not-ready", 503), ANSWER) as server:
        assert call(server.url, "tag", b"jpeg").checkpoint == "c"
    assert 7 <= pauses[0] <= 9
    assert 2 <= pauses[1] <= 3
    # The third reply has no Retry-After; the pause has doubled twice by then.
    assert 1 <= pauses[2] <= 2
    assert len(server.asked) == 4
    assert len(set(server.headers("idempotency-key")) - {None}) == 1


def test_every_call_has_its_own_idempotency_key(call: Callable[..., Any]) -> None:
    with scripted(ANSWER, ANSWER) as server:
        call(server.url, "tag", b"jpeg")
        call(server.url, "tag", b"jpeg")
    assert len(set(server.headers("idempotency-key")) - {None}) == 2


def test_client_raises_the_server_error_after_the_last_retry(
    call: Callable[..., Any], pauses: list[float]
) -> None:
    with scripted(*[problem("overloaded", 429, 1)] * 3) as server, pytest.raises(OverloadedError) as caught:
        call(server.url, "tag", b"jpeg", retries=2)
    assert (caught.value.retry_after, len(pauses)) == (1, 2)
    with scripted(problem("not-ready", 503, 3600)) as server, pytest.raises(NotReadyError):
        call(server.url, "tag", b"jpeg")


def test_broken_connection_is_retried_for_safe_requests(
    call: Callable[..., Any], pauses: list[float]
) -> None:
    with scripted(Reply(cut=True), ANSWER) as server:
        assert call(server.url, "tag", b"jpeg").checkpoint == "c"
    assert len(pauses) == 1


@pytest.mark.parametrize(
    ("method", "arguments", "options"),
    [
        ("roll_back", (), {}),
        ("delete_vocabulary", ("x",), {}),
        ("put_vocabulary", ("x", ["dog"]), {"if_match": '"1"'}),
    ],
)
def test_unsafe_request_is_not_retried_if_it_may_have_run(
    call: Callable[..., Any], pauses: list[float], method: str, arguments: tuple[Any], options: dict[str, Any]
) -> None:
    with scripted(Reply(cut=True)) as server, pytest.raises(ServerError, match="does not answer"):
        call(server.url, method, *arguments, **options)
    with scripted(problem("not-ready", 503)) as server, pytest.raises(NotReadyError):
        call(server.url, method, *arguments, **options)
    assert pauses == []
    # The server had not started the request.
    with scripted(problem("overloaded", 429), problem("not-ready", 503)) as server:
        with pytest.raises(NotReadyError):
            call(server.url, method, *arguments, **options)
        assert len(server.asked) == 2


def test_broken_stream_resends_only_the_missing_images(call: Callable[..., Any], pauses: list[float]) -> None:
    photographs = [b"photograph %d" % number for number in range(5)]
    replies = _lines(3, 1, cut=True), problem("overloaded", 429, 1), _lines(1, cut=True), _lines(1, 0)
    with scripted(*replies) as server:
        results = call(server.url, "tag_many", photographs, retries=2)
    # Every result resets the count: there are three failures, but at most two in a row.
    assert [result.index for result in results] == [3, 1, 2, 4, 0]
    assert len(pauses) == 3
    sent = [[number for number in range(5) if photographs[number] in body] for _, body in server.asked]
    assert sent == [[0, 1, 2, 3, 4], [0, 2, 4], [0, 2, 4], [0, 4]]


def test_tag_many_splits_requests_and_shrinks_them_after_413(
    call: Callable[..., Any], pauses: list[float]
) -> None:
    too_large = problem("request-too-large", 413)
    with scripted(_lines(0, 1), too_large, _lines(0), too_large) as server:
        results = call(server.url, "tag_many", [b"a", b"b", b"c", b"d"], at_once=2)
    assert [result.index for result in results] == [0, 1, 2, 3]
    assert isinstance(results[3].outcome, ImageTooLargeError)
    assert pauses == []


def test_invalid_request_ends_a_stream_without_retries(call: Callable[..., Any], pauses: list[float]) -> None:
    with scripted(problem("invalid-labels", 422)) as server, pytest.raises(InvalidLabelsError):
        call(server.url, "tag_many", [b"a"], ["dog", "dog"])
    with scripted(_lines(0)) as server, pytest.raises(ServerError, match="lacks 1 of 2"):
        call(server.url, "tag_many", [b"a", b"b"])
    assert pauses == []


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (problem("precondition-failed", 412), PreconditionError, "it is precondition-failed"),
        (problem("of-the-future", 418), ServerError, "it is of-the-future"),
        (Reply(404, b"nothing here"), ServerError, "status 404"),
        (Reply(500, b'{"detail": "x"}'), ServerError, "status 500"),
        (Reply(200, b"<html>"), ServerError, "not one of this sigrl release"),
        (Reply(200, b'{"of": "another service"}'), ServerError, "not one of this sigrl release"),
    ],
)
def test_server_problems_are_raised_as_matching_exceptions(
    call: Callable[..., Any], reply: Reply, kind: type[TaggerError], says: str
) -> None:
    with scripted(reply) as server, pytest.raises(kind, match=says) as caught:
        call(server.url, "list_checkpoints")
    assert type(caught.value) is kind


def test_drift_error_contains_the_drift_report(call: Callable[..., Any]) -> None:
    content = json.loads(problem("drift-exceeded", 409).content) | {"drift": {"changed_tags": 0.5}}
    reply = Reply(409, json.dumps(content).encode())
    with scripted(reply) as server, pytest.raises(DriftError) as caught:
        call(server.url, "activate_checkpoint", "sha256:x")
    assert caught.value.drift == {"changed_tags": 0.5}


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "nonsense", "http://a:b", ""])
def test_unreachable_server_is_reported(call: Callable[..., Any], pauses: list[float], server: str) -> None:
    with pytest.raises(ServerError, match="does not answer"):
        call(server, "list_checkpoints")
    assert len(pauses) == (4 if server.endswith(":1") else 0)


def test_api_key_is_sent_but_not_shown_in_errors(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGRL_API_KEY", "sigrl-secret\n")
    with scripted(EMPTY) as server:
        call(server.url, "embed_labels", ["dog"])
    assert server.headers("authorization") == ["Bearer sigrl-secret"]
    monkeypatch.setenv("SIGRL_API_KEY", "se\ncret")
    with pytest.raises(TaggerError) as caught:
        call("http://127.0.0.1:1", "embed_labels", ["dog"])
    assert "cret" not in str(caught.value)
