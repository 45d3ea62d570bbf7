"""What a process does that is told to stop."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import sample_images as samples
from service_process import LONG, PendingRequest, ServiceProcess, wait_until

RAW = {"content-type": "image/jpeg"}
ADMITTED = "sigrl_images_admitted"


def _raw(process: ServiceProcess) -> PendingRequest:
    return PendingRequest(process, content=samples.jpeg(), headers=RAW)


def test_shutdown_finishes_accepted_requests(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, delay=0.3, batch_images=1) as process:
        files = [("image", (f"{n}.jpg", samples.jpeg())) for n in range(3)]
        lines = PendingRequest(process, files=files, headers={"accept": "application/x-ndjson"})
        asking = [_raw(process) for _ in range(4)]
        idle = socket.create_connection(("127.0.0.1", httpx.URL(process.url).port or 0))
        wait_until(lambda: process.metric(ADMITTED) == 7)
        # The client of `metric` keeps its connection, too: neither holds the end up.
        assert process.stop() == 0
        assert [each.result().status_code for each in asking] == [200] * 4
        done = [json.loads(line) for line in lines.result().text.splitlines()]
        assert sorted(line["index"] for line in done) == [0, 1, 2]
        assert all(line["image"]["status"] == 200 for line in done)
        idle.close()


def test_shutdown_waits_for_a_body_still_being_sent(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path) as process:
        body = samples.jpeg()
        head = (
            f"POST /v1/tag HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", httpx.URL(process.url).port or 0), LONG) as sending:
            sending.sendall(head.encode())
            # The service reads the body from now on.
            assert sending.recv(1000).startswith(b"HTTP/1.1 100")
            process.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Waiting for connections" in process.log)
            sending.sendall(body)
            assert sending.makefile("rb").read().startswith(b"HTTP/1.1 200")
        assert process.process.wait(LONG) == 0


def test_readiness_fails_before_the_port_closes(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, drain_seconds=LONG) as process:
        assert process.client.get("/readyz").status_code == 200
        process.process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.client.get("/readyz").status_code == 503)
        # On new connections as on old ones, for who has not noticed yet.
        assert process.client.get("/healthz").status_code == 200
        assert httpx.post(process.url + "/v1/tag", content=samples.jpeg(), headers=RAW).status_code == 200


def test_requests_unfinished_at_the_shutdown_timeout_get_503(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, delay=2.5, batch_images=1, shutdown_seconds=1) as process:
        asking = [_raw(process) for _ in range(3)]
        wait_until(lambda: process.metric(ADMITTED) == 3)
        assert process.stop() == 0
        answers = [each.result() for each in asking]
        assert {answer.status_code for answer in answers} <= {200, 503}
        refused = [answer.json()["type"] for answer in answers if answer.status_code == 503]
        assert refused
        assert set(refused) == {"urn:sigrl:problem:not-ready"}


def test_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, drain_seconds=600) as process:
        process.process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.client.get("/readyz").status_code == 503)
        assert process.stop() == -signal.SIGTERM


def test_stuck_thread_does_not_block_process_exit(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, shutdown_seconds=0) as process:
        asking = PendingRequest(process, files={"image": samples.jpeg()}, data={"labels": "stuck"})
        wait_until(lambda: process.metric(ADMITTED) == 1)
        assert process.stop() == 0
        assert asking.result().status_code == 503
        assert "sigrl-labels" in process.log.splitlines()[-1]


def test_exit_status_ignores_failures_in_interpreter_teardown(tmp_path: Path) -> None:
    # As C++ aborts in the end when one of its threads is still at work. Python imports this first.
    abort = "import atexit, os, sys\nif 'serve' in sys.argv: atexit.register(os.abort)\n"
    (tmp_path / "sitecustomize.py").write_text(abort)
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1]), str(root)])
    with ServiceProcess(tmp_path, environment={"PYTHONPATH": paths}) as process:
        assert (
            process.client.post("/v1/tag?labels=red", content=samples.jpeg(), headers=RAW).status_code == 200
        )
        assert process.stop() == 0


def test_sigterm_during_startup_exits_with_zero() -> None:
    # Before its imports, which is when SIGTERM would still kill it.
    code = "import os, signal; from sigrl.service import cli, ending; real = ending.end_at_signals\n"
    code += "cli.end_at_signals = lambda: (real(), os.kill(os.getpid(), signal.SIGTERM))\n"
    code += "import sys; sys.argv = ['sigrl', 'serve']; cli.main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG)
    assert ended.returncode == 0
    assert "SIGTERM during the start" in ended.stderr


def test_startup_steps_and_duration_are_logged(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path) as process:
        told = [str(record["message"]) for record in process.records if record["logger"] == "sigrl"]
    assert told[0].startswith("sigrl-tagger ")
    assert [each[:12] for each in told[1:4]] == ["opening the ", "loading and ", "loading the "]
    assert re.fullmatch(r"ready after \d+\.\d s", told[4])
