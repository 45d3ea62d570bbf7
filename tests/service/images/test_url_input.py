"""Photographs by URL: only of public servers, whatever names and redirects say."""

import gzip
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import sample_images as samples
from fastapi.testclient import TestClient

from sigrl.service.app import create_app
from sigrl.service.images.url_input import UrlFetcher, is_public
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
"""What stands for an address of the internet here, and for one of the network behind the service."""


class Site(BaseHTTPRequestHandler):
    """A server of photographs, good and bad."""

    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        host = self.headers["Host"].partition(":")[0]
        self.asked.append((host, self.path))
        path, headers, body = self.path, {}, samples.jpeg()
        status = 200
        if path.startswith("/to/"):
            status, headers = 302, {"Location": path.removeprefix("/to/")}
        elif path == "/round":
            status, headers = 301, {"Location": "/round"}
        elif path == "/relative":
            status, headers = 307, {"Location": "photo.jpg"}
        elif path == "/gone":
            status, body = 404, b"a secret of the server"
        elif path == "/page":
            body = b"<html>secret</html>"
        elif path == "/large":
            body = b"\xff\xd8\xff" + b"0" * 3_000_000
        elif path == "/packed":
            body, headers = gzip.compress(samples.jpeg()), {"Content-Encoding": "gzip"}
        elif path == "/slow":
            time.sleep(3)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    Site.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Names:
    """A resolver of which names are known, each with what it says one time after the other."""

    def __init__(self, **addresses: Sequence[Sequence[str]]) -> None:
        self.left = {name.replace("_", "."): list(answers) for name, answers in addresses.items()}

    async def __call__(self, host: str, _: int) -> Sequence[str]:
        if host not in self.left:
            host.encode("idna")  # As the system's resolver does, which raises UnicodeError.
            raise OSError("unknown")
        answers = self.left[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def client(tagger: Tagger, port: int) -> Iterator[TestClient]:
    names = Names(
        good_example=[[PUBLIC]],
        inner_example=[[PRIVATE]],
        both_example=[[PUBLIC, PRIVATE]],
        rebinding_example=[[PUBLIC], [PRIVATE]],
    )
    names.left |= {host: [[PRIVATE]] for host in ("127.0.0.2", "2130706434", "0x7f000002", "::1")}
    settings = Settings(
        url_input=True, url_ports=(port,), url_seconds=1.0, max_request_bytes=1 << 20, max_images=4
    )
    app = create_app(settings, tagger)
    app.state.service.fetcher = UrlFetcher(
        settings, resolve=names, is_allowed=lambda address: address == PUBLIC
    )
    with TestClient(app) as client:
        yield client


def _tag(client: TestClient, *urls: str, files: Sequence[Any] = ()) -> Any:
    form = [*files, *(("url", (None, url)) for url in urls), ("labels", (None, "red"))]
    return client.post("/v1/tag", files=form)


@pytest.mark.parametrize("path", ["photo.jpg", "relative", "to//photo.jpg"])
def test_image_url_is_fetched(client: TestClient, port: int, path: str) -> None:
    url = f"http://good.example:{port}/{path}"
    for answer in (_tag(client, url), client.post("/v1/tag", params={"url": url, "labels": "red"})):
        assert answer.status_code == 200, answer.text
        assert [tag["label"] for tag in answer.json()["images"][0]["tags"]] == ["red"]
    # The server is asked by its name, whatever address the connection goes to.
    assert Site.asked[-1][0] == "good.example"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://inner.example:{port}/photo.jpg", "url-refused"),
        ("http://both.example:{port}/photo.jpg", "url-refused"),
        ("http://good.example:{port}/to/http://inner.example:{port}/photo.jpg", "url-refused"),
        ("http://good.example:{port}/to/http://127.0.0.2:{port}/photo.jpg", "url-refused"),
        ("http://good.example:{port}/to/http://[::1]:{port}/photo.jpg", "url-refused"),
        ("http://good.example:{port}/to/http://good.example:22/", "url-refused"),
        ("http://good.example:{port}/to/file:///etc/passwd", "url-refused"),
        ("http://2130706434:{port}/photo.jpg", "url-refused"),
        ("http://0x7f000002:{port}/photo.jpg", "url-refused"),
        ("http://good.example/photo.jpg", "url-refused"),
        ("http://me:password@good.example:{port}/photo.jpg", "url-refused"),
        ("ftp://good.example/photo.jpg", "url-refused"),
        ("file:///etc/passwd", "url-refused"),
        ("http://", "url-refused"),
        ("//good.example", "url-refused"),
        ("http://good.example:{port}/" + "x" * 3000, "url-refused"),
        ("http://nobody.example:{port}/photo.jpg", "url-failed"),
        ("http://a..b:{port}/photo.jpg", "url-failed"),
        ("http://good.example:{port}/to/http://[", "url-failed"),
        ("http://good.example:{port}/gone", "url-failed"),
        ("http://good.example:{port}/round", "url-failed"),
        ("http://good.example:{port}/packed", "url-failed"),
        ("http://good.example:{port}/slow", "url-failed"),
        ("http://good.example:{port}/large", "image-too-large"),
        ("http://good.example:{port}/page", "unsupported-image"),
    ],
)
def test_other_urls_are_rejected_without_leaking_details(
    client: TestClient, port: int, url: str, code: str
) -> None:
    asked = len(Site.asked)
    answer = _tag(client, url.format(port=port))
    problem = answer.json()
    assert problem["type"] == f"urn:sigrl:problem:{code}"
    assert problem["hint"]
    for secret in ("secret", "password", PRIVATE, PUBLIC):
        assert secret not in answer.text
    assert all(host == "good.example" for host, _ in Site.asked[asked:])


def test_dns_rebinding_to_a_private_address_is_rejected(client: TestClient, port: int) -> None:
    # The first answer is the public address, and the connection goes there; the next hop is looked up anew.
    assert _tag(client, f"http://rebinding.example:{port}/photo.jpg").status_code == 200
    answer = _tag(client, f"http://rebinding.example:{port}/photo.jpg")
    assert answer.json()["type"] == "urn:sigrl:problem:url-refused"


def test_failing_url_gets_its_own_error_among_several(client: TestClient, port: int) -> None:
    mine = [("image", ("mine.jpg", samples.jpeg()))]
    good, bad = (f"http://good.example:{port}/{path}" for path in ("photo.jpg", "gone"))
    statuses = [image["status"] for image in _tag(client, bad, good, files=mine).json()["images"]]
    assert statuses == [200, 502, 200]
    assert _tag(client, *[good] * 5).status_code == 422


def test_url_images_share_the_request_size_limit(client: TestClient, port: int) -> None:
    size = len(samples.jpeg())
    url = f"http://good.example:{port}/photo.jpg"
    limits = client.app.state.service.settings.model_copy(update={"max_request_bytes": 2 * size + 100})
    client.app.state.service.settings = limits
    statuses = sorted(image["status"] for image in _tag(client, url, url, url).json()["images"])
    assert statuses == [200, 200, 413]


def test_url_input_is_off_by_default(tagger: Tagger) -> None:
    with TestClient(create_app(Settings(), tagger)) as client:
        answer = _tag(client, "http://good.example/photo.jpg")
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:sigrl:problem:url-input-off")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("2002:c0a8:101::1", False),
        ("2001:0:7f00:1::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:7f00:1", False),
        ("64:ff9b:1::7f00:1", False),
        ("ff02::1", False),
        ("no address", False),
    ],
)
def test_is_public_classifies_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public
