"""`sigrl`, `sigrl-train` and Python blocks as processes that start at once.

A program's first seconds are spent on importing torch. Here one process imports it, and forks for every
command: with its own arguments, environment, folder and standard streams, as in a shell.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("sigrl", "sigrl-train", "run-python")
_CALLER = """#!{python} -SE
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
call = [os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]
socket.send_fds(connection, [json.dumps(call).encode()], [0, 1, 2])
sys.exit(connection.recv(1)[0])
"""
_MOST_BYTES = 1 << 20


@contextmanager
def quick_commands(folder: Path) -> Iterator[Path]:
    """A folder for the PATH that holds `PROGRAMS`; they work until the end of the block."""
    address = str(folder / "socket")
    programs = folder / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(_CALLER.format(python=sys.executable, address=address))
        (programs / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        # Calls wait here until there is somebody who answers.
        listening.bind(address)
        listening.listen()
        number = listening.fileno()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        server = subprocess.Popen([sys.executable, __file__, str(number)], pass_fds=[number], env=environment)
    try:
        yield programs
    finally:
        server.kill()
        server.wait()


def _serve(listening: socket.socket) -> None:
    # What the commands import, with nothing in it that starts a thread: a fork would lose it.
    import sigrl.service.cli
    import sigrl.service.tagging.tagger
    import sigrl.training.cli
    import sigrl.training.tasks.photographs.bundle  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    call, streams, *_ = socket.recv_fds(connection, _MOST_BYTES, 3)
    program, arguments, folder, environment = json.loads(call)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    status = 1
    try:
        _run(program, arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send(bytes([status]))
        os._exit(status)


def _run(program: str, arguments: list[str]) -> None:
    import sigrl.service.cli
    import sigrl.training.cli

    sys.argv = [program, *arguments]
    if program == "run-python":
        runpy.run_path(arguments[0], run_name="__main__")
    elif program == "sigrl":
        sigrl.service.cli.main()
    else:
        sigrl.training.cli.main()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
