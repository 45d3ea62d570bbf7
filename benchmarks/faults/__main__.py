"""`python -m benchmarks.faults [--minutes 10] [--peers] [--infinity PYTHON]`: attacks on servers it starts.

Our server has its default settings and the bundled checkpoint. The attacks follow one another, in rounds,
until the minutes are over, and every one is made at least once. Meanwhile one client sends a good photograph
a second, and another asks /healthz. As the server's own failures count all 5xx that honest clients get, what
is cut off or unanswered where the client is honest, probes that fail, and all 5xx that attackers get but 504,
which a request may deserve. A server that exceeds 4 GiB is killed, as in the container of
`deploy/kubernetes.yaml`, and one that has ended is started again for the next attack.

With `--peers`, a plain FastAPI endpoint with open_clip gets every attack once, and with `--infinity`, so does
infinity, whose environment's Python it names (see `benchmarks.peers.infinity_server`); attacks on our own
routes are left out.
"""

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.faults.attacks import Attack, attacks
from benchmarks.faults.rows import COLUMNS, Row, counted
from benchmarks.faults.server import Server
from benchmarks.faults.victim import EMBEDDINGS, OURS, UPLOADS, Victim
from benchmarks.faults.watching import Seen, Watch, memory
from benchmarks.measuring import markdown_table
from benchmarks.servers import ROOT, SERVE, free_port

_QUIET_SECONDS = 30.0
_HOST = "127.0.0.1"


def main(
    minutes: Annotated[float, typer.Option(help="How long our server is attacked, at least")] = 10.0,
    peers: Annotated[bool, typer.Option("--peers", help="Also a plain FastAPI endpoint")] = False,
    infinity: Annotated[Path | None, typer.Option(help="The Python of infinity's environment")] = None,
) -> None:
    """Attack servers, and print what became of them."""
    photograph = (ROOT / "examples" / "cat.jpg").read_bytes()
    every = attacks(photograph)
    with tempfile.TemporaryDirectory() as scratch:
        servers = [_ours(Path(scratch))]
        if peers:
            servers.append(_plain(Path(scratch)))
        if infinity is not None:
            servers.append(_infinity(Path(scratch), infinity))
        found: dict[str, Mapping[str, Row]] = {}
        for server in servers:
            is_ours = server is servers[0]
            with server:
                found[server.name] = _battle(
                    server,
                    [each for each in every if is_ours or not each.ours],
                    photograph,
                    minutes if is_ours else 0,
                )
                print(f"SIGTERM: {server.stop()}.", flush=True)
    if len(servers) > 1:
        verdicts = [
            [each.name, *(rows[each.name].verdict if each.name in rows else "" for rows in found.values())]
            for each in every
        ]
        print(f"\n## Side by side\n\n{markdown_table(('attack', *found), verdicts)}")


def _ours(scratch: Path) -> Server:
    port = free_port()
    victim = Victim(_HOST, port, "/v1/tag?labels=cat,dog", OURS)
    return Server("this service", [*SERVE, str(port)], victim, "/readyz", "/healthz", scratch)


def _plain(scratch: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peers.plain_fastapi", str(port)]
    victim = Victim(_HOST, port, "/tag", UPLOADS)
    return Server("plain FastAPI", command, victim, "/openapi.json", "/openapi.json", scratch)


def _infinity(scratch: Path, python: Path) -> Server:
    port = free_port()
    script = str(ROOT / "benchmarks" / "peers" / "infinity_server.py")
    command = [str(python), script, "float32", str(scratch), str(port)]
    return Server(
        "infinity", command, Victim(_HOST, port, "/embeddings", EMBEDDINGS), "/health", "/health", scratch
    )


def _battle(server: Server, every: Sequence[Attack], photograph: bytes, minutes: float) -> Mapping[str, Row]:
    """Makes the attacks in rounds for `minutes`, and each at least once."""
    rows = {attack.name: Row() for attack in every}
    for _ in range(3):
        server.victim.send([photograph])
    start, at_start, first_minute = time.monotonic(), memory(server.pid), 0
    while time.monotonic() < start + 60 * minutes or not all(row.times for row in rows.values()):
        for attack in every:
            row = rows[attack.name]
            if row.times and time.monotonic() >= start + 60 * minutes:
                break
            with Watch(server, photograph) as watch:
                answers = attack.run(server.victim)
            row.add(answers, watch.seen, memory(server.pid))
            row.deaths += server.revive()
            print(
                f"{time.monotonic() - start:5.0f} s  {server.name}: {attack.name}",
                file=sys.stderr,
                flush=True,
            )
            if not first_minute and time.monotonic() >= start + 60:
                _rest(server, photograph)
                first_minute = memory(server.pid)
    seconds = time.monotonic() - start
    quiet = _rest(server, photograph)
    print(
        f"\n## {server.name}\n\n{markdown_table(COLUMNS, [row.cells(name) for name, row in rows.items()])}\n"
    )
    print(f"RSS of the process and its children: {at_start >> 20:,} MiB before, {first_minute >> 20:,} MiB")
    print(f"after the first minute, {memory(server.pid) >> 20:,} MiB at the end, both {_QUIET_SECONDS:g} s")
    print("after the last attack.")
    print(f"The attacks took {seconds:.0f} s. The process ended {server.deaths} times.")
    print(f"Afterwards honest clients got {counted(quiet.honest_outcomes)}.", flush=True)
    return rows


def _rest(server: Server, photograph: bytes) -> Seen:
    """What is seen while nobody attacks. Memory is compared after such a time, because an attack's own memory
    is returned to the system a second after its end."""
    with Watch(server, photograph) as watch:
        time.sleep(_QUIET_SECONDS)
    return watch.seen


if __name__ == "__main__":
    typer.run(main)
