"""What only a real server and a real connection show."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
import sample_images as samples
import uvicorn
from fake_engine import FakeEngine, FakeFeatures

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

LONG = 60.0
RAW = {"content-type": "image/jpeg"}


class Server:
    """The service on a port of its own, with a model that stands still while `opened` is not set."""

    def __init__(self) -> None:
        self.opened, self.entered = threading.Event(), threading.Event()
        self.opened.set()
        self.engine = FakeEngine()
        encode = self.engine.encode_images

        def encode_images(pixel_values: np.ndarray) -> FakeFeatures:
            self.entered.set()
            assert self.opened.wait(LONG)
            return encode(pixel_values)

        self.engine.encode_images = encode_images  # type: ignore[method-assign]
        app = create_app(Settings(batch_images=1), Tagger(engine=self.engine))
        self.state = app.state.service
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=30)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> "Server":
        self.thread.start()
        wait_until(lambda: self.server.started)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=LONG)
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()
        self.server.should_exit = True
        self.thread.join(LONG)
        self.client.close()
        self.socket.close()

    def hold(self) -> None:
        self.entered.clear()
        self.opened.clear()

    @property
    def admitted(self) -> int:
        items: int = self.state.ready_tagger._batcher.permits.taken[0]
        return items


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.002)


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_disconnected_client_frees_its_queue_place(
    server: Server,
) -> None:
    server.hold()
    first = threading.Thread(target=server.client.post, args=("/v1/tag",), kwargs={"content": samples.jpeg()})
    first.start()
    assert server.entered.wait(LONG)
    for accept in ("application/json", "application/x-ndjson"):
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            head = f"POST /v1/tag HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\ncontent-type: image/jpeg\r\n"
            body = samples.jpeg()
            leaving.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(lambda: server.admitted == 2)
        wait_until(lambda: server.admitted == 1)
    before = len(server.engine.batches)
    server.opened.set()
    first.join(LONG)
    assert server.client.post("/v1/tag", content=samples.jpeg(), headers=RAW).status_code == 200
    assert len(server.engine.batches) == before + 2
    assert 'sigrl_requests_total{route="/v1/tag",status="499"} ' in server.client.get("/metrics").text


def test_ndjson_lines_are_sent_while_other_images_are_processed(server: Server) -> None:
    server.hold()
    files = [("image", ("a.jpg", samples.jpeg())), ("image", ("b.jpg", b"garbage"))]
    headers = {"accept": "application/x-ndjson"}
    with server.client.stream("POST", "/v1/tag", files=files, headers=headers) as response:
        lines = response.iter_lines()
        assert '"index":1' in next(lines)
        assert not server.opened.is_set()
        server.opened.set()
        assert '"index":0' in next(lines)
        assert list(lines) == []


def test_stopping_server_finishes_running_requests(server: Server) -> None:
    server.hold()
    responses: list[httpx.Response] = []

    def post() -> None:
        responses.append(server.client.post("/v1/tag", content=samples.jpeg(), headers=RAW))

    asking = threading.Thread(target=post)
    asking.start()
    assert server.entered.wait(LONG)
    server.server.should_exit = True
    wait_until(lambda: _refuses(server.port))
    assert responses == []
    server.opened.set()
    asking.join(LONG)
    assert responses[0].status_code == 200
    server.thread.join(LONG)
    assert not server.thread.is_alive()
    assert server.state.tagger is None
