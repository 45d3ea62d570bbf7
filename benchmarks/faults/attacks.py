"""The attacks, each of which some server did not survive."""

import json
import random
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from benchmarks.faults import costly
from benchmarks.faults.victim import PATIENCE_SECONDS, Answer, Victim, at_once

_MIB = 1 << 20
_HOLD_SECONDS = 5.0
_SEND_SECONDS = 2.0
"""Time to send one piece of a body. If the server does not read it in this time, nothing more is sent."""

# What follows a photograph's first headers in requests that are wrong in ways that a parser may not have
# foreseen; each is answered, or cut off, at once.
_MALFORMED_ENDS = (
    b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    b"content-length: -1\r\n\r\n",
    b"content-length: 1" + 30 * b"0" + b"\r\n\r\nx",
    b"transfer-encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
    b"content-length: 3\r\norigin: http://[\r\n\r\nabc",
    b"content-length: 3\r\norigin: http://[::1]x\r\n\r\nabc",
    b"content-length: 3\r\nidempotency-key: \xff\xfe\r\n\r\nabc",
)
_MALFORMED = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /v1/vocabularies/%2e%2e%2fetc%00 HTTP/1.1\r\nhost: [::1\r\n\r\n",
    b"GET /" + 100_000 * b"a" + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n" + 20_000 * b"x-a: b\r\n" + b"\r\n",
)
_ODD_JSON = (
    b'{"images":' + 100_000 * b"[" + 100_000 * b"]" + b"}",
    b'{"images":[{"data":"aGk="}],"labels":["\\ud800"]}',
    b'{"images":[{"data":"aGk="}],"threshold":NaN}',
    b'{"images":[{"data":"aGk="}],"top_k":' + 6_000 * b"9" + b"}",
)


@dataclass(frozen=True)
class Attack:
    """One kind; `ours`: it speaks of routes or limits that only our service has."""

    name: str
    run: Callable[[Victim], list[Answer]]
    ours: bool = False


def attacks(photograph: bytes) -> list[Attack]:
    """All of them; their files are made here, once. `photograph`: a good JPEG."""
    album = [costly.webp(4_000, 3_000)] * 32
    blank = [costly.black_png(7_000, 7_100, 3)] * 12
    needles = [costly.black_png(1, 50_000_000)] * 2
    whole = costly.black_png(7_000, 7_100, 4)
    truncated = whole[: len(whole) * 9 // 10]
    scans = [costly.many_scans(7_000, 6_000), costly.many_scans(8_000, 120)]
    headers = [
        costly.many_segments(photograph, 60),
        costly.fill_bytes(photograph, 16_000_000),
        costly.many_strips(5_000_000),
        costly.float_tiff(7_000, 7_000),
    ]
    # The probes share this process, so nothing is built while it is watched.
    bodies = _costly_bodies(photograph)
    return [
        Attack("32 WebP of 12 MP in one request", lambda victim: victim.send(album)),
        Attack("12 blank PNGs of 50 MP in one request", lambda victim: victim.send(blank)),
        Attack("2 PNGs of 1 x 50,000,000", lambda victim: victim.send(needles)),
        Attack("4 truncated PNGs of 50 MP, one by one", lambda v: [v.send([truncated])[0] for _ in range(4)]),
        Attack(
            "progressive JPEGs, 49 MP in 6,000 scans, 64 MP in 120",
            lambda victim: at_once([lambda each=each: victim.send([each])[0] for each in scans]),
        ),
        Attack("costly headers of JPEG and TIFF", lambda v: [v.send([each])[0] for each in headers]),
        Attack("endless header, 100 MiB", lambda victim: [_endless_header(victim, 100)]),
        Attack("30 unfinished bodies of 20 MiB", lambda victim: _held_bodies(victim, 30, 20)),
        Attack("malformed requests", _malformed),
        Attack("bodies that cost much to parse", lambda victim: _costly_to_parse(victim, bodies)),
        Attack("2 lists of 20,000 new labels", lambda victim: _new_labels(victim, photograph), ours=True),
    ]


def _endless_header(victim: Victim, mebibytes: int) -> Answer:
    def send(connection: socket.socket) -> None:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: ")
        for _ in range(mebibytes):
            connection.sendall(_MIB * b"a")

    return _raw(victim, send)


def _held_bodies(victim: Victim, connections: int, mebibytes: int) -> list[Answer]:
    """Bodies without their last byte, held for some seconds; then what the server has said by itself."""
    start, opening = time.monotonic(), victim.form.opening
    length = len(opening) + mebibytes * _MIB
    with ExitStack() as stack:
        held = [stack.enter_context(_connected(victim)) for _ in range(connections)]
        for each in held:
            each.settimeout(_SEND_SECONDS)
            with suppress(OSError):
                each.sendall(victim.head + b"content-length: %d\r\n\r\n" % (length + 1) + opening)
                for _ in range(mebibytes):
                    each.sendall(_MIB * b"a")
        time.sleep(_HOLD_SECONDS)
        said = []
        for each in held:
            each.settimeout(0.05)
            said.append(_status(each, "still open"))
        return [Answer(each, time.monotonic() - start) for each in said]


def _malformed(victim: Victim) -> list[Answer]:
    requests = (*_MALFORMED, *(victim.head + end for end in _MALFORMED_ENDS))
    raw = [_raw(victim, lambda connection, each=each: connection.sendall(each)) for each in requests]
    headers = {"content-type": "application/json"}
    return raw + [victim.post(victim.path, content=each, headers=headers) for each in _ODD_JSON]


def _costly_bodies(photograph: bytes) -> list[tuple[str, bytes]]:
    """Content types and bodies."""
    labels = 10_000 * b'--B\r\ncontent-disposition: form-data; name="labels"\r\n\r\nx\r\n'
    image = (
        b'--B\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n' + photograph + b"\r\n"
    )
    keys = b",".join(b'"%d":0' % number for number in range(1_000_000))
    return [
        ("application/json", b'{"images":[' + 15_000_000 * b"0," + b"0]}"),
        ("application/json", b"{" + keys + b"}"),
        ("multipart/form-data; boundary=B", image + labels + b"--B--\r\n"),
        ("application/x-www-form-urlencoded", 30_000_000 * b"&"),
    ]


def _costly_to_parse(victim: Victim, bodies: Sequence[tuple[str, bytes]]) -> list[Answer]:
    sent = [victim.post(victim.path, content=body, headers={"content-type": kind}) for kind, body in bodies]
    chunks = victim.head + b"transfer-encoding: chunked\r\n\r\n" + 200_000 * b"1\r\na\r\n" + b"0\r\n\r\n"
    return [*sent, _raw(victim, lambda connection: connection.sendall(chunks))]


def _new_labels(victim: Victim, photograph: bytes) -> list[Answer]:
    """Two long lists, and a short one meanwhile, whose answer is the last."""
    known = random.Random(time.monotonic_ns())

    def tag(count: int) -> Answer:
        labels = [f"{known.getrandbits(64):x} of a {known.getrandbits(64):x}" for _ in range(count)]
        return victim.post("/v1/tag", files={"image": photograph}, data={"labels": json.dumps(labels)})

    def short() -> Answer:
        time.sleep(2)
        answer = tag(3)
        return Answer(f"short list {answer.outcome}", answer.seconds)

    return at_once([lambda: tag(20_000), lambda: tag(20_000), short])


def _raw(victim: Victim, send: Callable[[socket.socket], None]) -> Answer:
    start = time.monotonic()
    with _connected(victim) as connection:
        # The answer may come, and the connection may be cut, before everything is sent.
        with suppress(OSError):
            send(connection)
        return Answer(_status(connection, "no answer"), time.monotonic() - start)


def _connected(victim: Victim) -> socket.socket:
    return socket.create_connection((victim.host, victim.port), PATIENCE_SECONDS)


def _status(connection: socket.socket, silence: str) -> str:
    try:
        line = connection.recv(64)
    except TimeoutError:
        return silence
    except OSError:
        return "cut off"
    return line[9:12].decode("latin-1") if line.startswith(b"HTTP/") else "cut off"
