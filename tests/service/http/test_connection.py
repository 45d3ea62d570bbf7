"""What one connection may cost the service, before anybody is known and whatever is asked for."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import psutil
import pytest
from service_process import LONG, ServiceProcess, wait_until

MIB = 1 << 20
HEAD = b"POST /v1/tag?labels=red HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: image/jpeg\r\n"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    limits = {"receive_seconds": 2, "idle_seconds": 3, "connections": 12, "body_bytes": 8 * MIB}
    folder = tmp_path_factory.mktemp("service")
    environment = {"SIGRL_KEYS": "auto"}
    with ServiceProcess(folder, environment=environment, max_request_bytes=4 * MIB, **limits) as running:
        yield running


def _connect(process: ServiceProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(process.url).port or 0), LONG)


def _answer(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """Status and problem; all until the service closes."""
    head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def _rss(process: ServiceProcess) -> int:
    return psutil.Process(process.process.pid).memory_info().rss


def test_endless_headers_are_rejected(process: ServiceProcess) -> None:
    before = _rss(process)
    with _connect(process) as sending:
        sending.sendall(b"GET /v1/tag HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 300_000)
        status, problem = _answer(sending)
    assert (status, problem["type"]) == (431, "urn:sigrl:problem:headers-too-large")
    with _connect(process) as sending:
        sending.sendall(b"GET /v1/tag HTTP/1.1\r\nhost: x\r\nx-a: ")
        with suppress(ConnectionError):
            for _ in range(200):
                sending.sendall(b"a" * MIB)
    assert _rss(process) - before < 30 * MIB


def test_non_http_data_gets_a_400_response(process: ServiceProcess) -> None:
    with _connect(process) as sending:
        sending.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert _answer(sending)[0] == 400


def test_body_in_one_byte_chunks_is_rejected(process: ServiceProcess) -> None:
    with _connect(process) as sending:
        sending.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1100)
        assert _answer(sending)[0] == 400


def test_mixed_short_and_long_chunks_are_accepted(process: ServiceProcess) -> None:
    with _connect(process) as sending:
        chunks = b"1\r\na\r\n" * 900 + (b"1000\r\n" + b"a" * 4096 + b"\r\n") * 900 + b"0\r\n\r\n"
        sending.sendall(HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
        assert _answer(sending)[0] == 415


def test_slow_headers_and_bodies_time_out(process: ServiceProcess) -> None:
    with _connect(process) as slow_head, _connect(process) as slow_body:
        slow_head.sendall(b"GET /healthz HTTP/1.1\r\nhost:")
        slow_body.sendall(HEAD + b"content-length: 100\r\n\r\nabc")
        for sending in (slow_head, slow_body):
            status, problem = _answer(sending)
            assert (status, problem["type"]) == (408, "urn:sigrl:problem:request-timeout")


def test_idle_connections_are_closed(process: ServiceProcess) -> None:
    with _connect(process) as silent, _connect(process) as after_an_answer:
        after_an_answer.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert silent.recv(1) == b""
        assert after_an_answer.makefile("rb").read().startswith(b"HTTP/1.1 200")


def test_total_size_of_unfinished_bodies_is_limited(process: ServiceProcess) -> None:
    before, held = _rss(process), [_connect(process) for _ in range(6)]
    for sending in held:
        sending.sendall(HEAD + b"content-length: %d\r\n\r\n" % (4 * MIB) + b"a" * (3 * MIB))
    # The first two fit into eight mebibytes; on a busy machine their time is over before the others are sent.
    statuses = [_answer(sending)[0] for sending in held[2:]]
    assert set(statuses) <= {408, 429}
    assert _rss(process) - before < 40 * MIB
    assert httpx.get(process.url + "/healthz").status_code == 200
    for sending in held:
        sending.close()


def test_new_connection_replaces_an_idle_one(process: ServiceProcess) -> None:
    silent = [_connect(process) for _ in range(14)]
    assert httpx.get(process.url + "/healthz").status_code == 200
    assert silent[0].recv(1) == b""
    for each in silent:
        each.close()


def test_disconnect_during_a_body_frees_its_memory(process: ServiceProcess) -> None:
    for _ in range(4):
        with _connect(process) as sending:
            sending.sendall(HEAD + b"content-length: %d\r\n\r\n" % (4 * MIB) + b"a" * (3 * MIB))
    whole = HEAD + b"content-length: %d\r\n\r\n" % (4 * MIB) + b"a" * (4 * MIB)

    def is_taken() -> bool:
        with _connect(process) as sending:
            sending.sendall(whole)
            return sending.recv(12) == b"HTTP/1.1 415"

    # Not at once: the service has to notice first that they have left.
    wait_until(is_taken)
