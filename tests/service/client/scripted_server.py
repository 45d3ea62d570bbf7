"""A fake server that sends scripted replies, one connection after the other."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """A scripted reply. A `cut` reply claims to be longer than it is before the connection closes."""

    status: int = 200
    content: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def problem(code: str, status: int, retry_after: int | None = None) -> Reply:
    told = {"title": "t", "status": status, "detail": f"it is {code}", "hint": "h"}
    content = json.dumps({"type": f"urn:sigrl:problem:{code}", **told}).encode()
    return Reply(status, content, {} if retry_after is None else {"Retry-After": str(retry_after)})


@dataclass
class Script:
    """The replies to send and the requests received."""

    replies: list[Reply]
    url: str = ""
    asked: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """(headers by lower-case name, body) of each request."""

    def headers(self, name: str) -> list[str | None]:
        return [headers.get(name) for headers, _ in self.asked]


@contextmanager
def scripted(*replies: Reply) -> Iterator[Script]:
    script = Script(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            script.asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
            reply = script.replies.pop(0)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.content) + 100 * reply.cut))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(reply.content)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
