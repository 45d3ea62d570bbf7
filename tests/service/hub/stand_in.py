"""A hub in this process, in the layout of Hugging Face's, that can be made to misbehave."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class StandIn:
    """Files by path (`/owner/name/resolve/main/FILE`), and how they are served."""

    files: dict[str, bytes] = field(default_factory=dict)
    address: str = ""
    breaks_after: int | None = None
    """Bytes after which each response with content ends."""
    chunk_seconds: float = 0.0
    """Pause before each 64 KiB."""
    ignores_ranges: bool = False
    lies: bool = False
    """Whether another hash than the file's is stated."""
    states_hash: bool = True
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and range of each request."""


@contextmanager
def serving(hub: StandIn) -> Iterator[StandIn]:
    """Serves until the end of the context, and sets `hub.address`. Files are redirected to another path, as
    Hugging Face redirects large ones to its storage."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            hub.asked.append((self.command, self.path, self.headers.get("Range")))
            stored = self.path.startswith("/storage")
            content = hub.files.get(self.path.removeprefix("/storage"))
            if content is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif stored:
                self.send_content(content, with_body=with_body)
            else:
                self.redirect(content)

        def redirect(self, content: bytes) -> None:
            self.send_response(302)
            self.send_header("Location", f"{hub.address}/storage{self.path}")
            if hub.states_hash:
                said = content + b"!" if hub.lies else content
                self.send_header("X-Linked-ETag", f'"{hashlib.sha256(said).hexdigest()}"')
                self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send_content(self, content: bytes, *, with_body: bool) -> None:
            wanted = self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not hub.ignores_ranges else 0
            self.send_response(206 if start or (wanted and not hub.ignores_ranges) else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if not with_body:
                return
            end = len(content) if hub.breaks_after is None else min(len(content), start + hub.breaks_after)
            for place in range(start, end, 2**16):
                time.sleep(hub.chunk_seconds)
                self.wfile.write(content[place : min(end, place + 2**16)])
            if end < len(content):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
