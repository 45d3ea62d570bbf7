"""The profile `full` of docker-compose.yml, with processes in place of containers: two replicas on one
PostgreSQL, nginx in front, Prometheus beside them, each with the configuration in deploy/."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import postgres_server
import pytest
import sample_images as samples
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
LONG = 60.0
CLIENTS = 4
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = pytest.mark.skipif(
    NGINX is None or shutil.which("prometheus") is None or postgres_server.find() is None,
    reason="nginx, Prometheus or PostgreSQL is not installed here",
)


class Replica:
    """`sigrl serve` on a port that it keeps."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port, self.log = _free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment | {"SIGRL_PORT": str(self.port)}

    def start(self) -> None:
        with self.log.open("a") as log:
            command = [sys.executable, "-c", "from sigrl.service.cli import main; main()", "serve"]
            self.process = subprocess.Popen(
                command, env=os.environ | self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self) -> None:
        _wait_until(lambda: _status(f"{self.url}/readyz") == 200, self.process, self.log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(LONG)


class Topology:
    """Two replicas, and what is in front of and beside them."""

    def __init__(self, folder: Path, replicas: list[Replica]) -> None:
        self.folder, self.replicas = folder, replicas
        self.proxy, self.prometheus = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))

    def query(self, expression: str) -> list[float]:
        """The values that Prometheus has for it."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expression}).json()
        return [float(each["value"][1]) for each in answer["data"]["result"]]


@pytest.fixture(scope="module")
def topology(tiny_bundle: Path) -> Iterator[Topology]:
    with ExitStack() as stack:
        # Not in pytest's folder, which only we may enter: nginx works as somebody else where we are root.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sigrl-topology-")))
        folder.chmod(0o755)
        environment = {
            "SIGRL_DATABASE_URL": stack.enter_context(postgres_server.running()).new_database(),
            "SIGRL_DATA": str(folder / "data"),
            "SIGRL_CHECKPOINT": str(tiny_bundle),
            "SIGRL_HOST": "127.0.0.1",
        }
        replicas = [Replica(environment, folder / f"replica{number}.log") for number in range(2)]
        for replica in replicas:
            replica.start()
            stack.callback(replica.kill)
        for replica in replicas:
            replica.wait()
        topology = Topology(folder, replicas)
        _write_nginx(topology)
        _write_prometheus(topology)
        assert NGINX is not None
        nginx = [NGINX, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
        stack.enter_context(_running(nginx, f"{topology.proxy}/healthz", folder / "nginx.log"))
        prometheus = [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={topology.prometheus.removeprefix('http://')}",
        ]
        ready = f"{topology.prometheus}/-/ready"
        stack.enter_context(_running(prometheus, ready, folder / "prometheus.log"))
        yield topology


def test_killed_replica_loses_only_its_running_requests(topology: Topology) -> None:
    first, second = topology.replicas
    clients = [Client(topology.proxy) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        _wait_until(lambda: all(_tagged(replica) for replica in topology.replicas))
        first.kill()
        before = sum(client.answered for client in clients)
        _wait_until(lambda: sum(client.answered for client in clients) > before + 20)
        _wait_until(lambda: topology.query(f'up{{instance="127.0.0.1:{first.port}"}}') == [0])
        first.start()
        first.wait()
        # Its counters are new: this is work given to it after it came back.
        _wait_until(lambda: _tagged(first) > 5)
    finally:
        for client in clients:
            client.stop()
    assert [client.lost for client in clients] == [[]] * CLIENTS
    assert sum(client.retried for client in clients) <= CLIENTS
    assert _tagged(second) > 20


def test_vocabulary_registered_on_one_replica_is_on_the_other(topology: Topology) -> None:
    vocabulary = {"labels": ["cat", "dog"]}
    answer = httpx.put(f"{topology.proxy}/v1/vocabularies/pets", json=vocabulary)
    assert answer.status_code == 201, answer.text
    for replica in topology.replicas:
        known = httpx.get(f"{replica.url}/v1/vocabularies/pets").json()
        assert [label["name"] for label in known["labels"]] == ["cat", "dog"]


def test_too_large_body_is_rejected_before_it_is_sent(topology: Topology) -> None:
    port = httpx.URL(topology.proxy).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=LONG) as connection:
        head = "POST /v1/tag HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/jpeg\r\n"
        connection.sendall(f"{head}content-length: {64 * 2**20 + 1}\r\n\r\n".encode())
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert "application/problem+json" in answer


def test_proxy_passes_ndjson_and_blocks_metrics(topology: Topology) -> None:
    files = [("image", ("a.jpg", samples.jpeg())), ("image", ("b.jpg", b"garbage"))]
    headers = {"accept": "application/x-ndjson"}
    lines = httpx.post(f"{topology.proxy}/v1/tag?labels=cat", files=files, headers=headers).text.splitlines()
    assert sorted(json.loads(line)["index"] for line in lines) == [0, 1]
    assert _status(f"{topology.proxy}/metrics") == 404


def test_prometheus_scrapes_both_replicas_and_loads_the_alerts(topology: Topology) -> None:
    _wait_until(lambda: topology.query('up{job="sigrl"}') == [1, 1])
    _wait_until(lambda: [value > 0 for value in topology.query("sigrl_images_tagged_total")] == [True, True])
    # Rules are evaluated one after the other, a second after the start.
    _wait_until(lambda: {rule["health"] for rule in _rules(topology)} == {"ok"})
    assert len(_rules(topology)) >= 10


def test_proxy_responds_503_with_retry_after_without_replicas(topology: Topology) -> None:
    for replica in topology.replicas:
        replica.stop()
    answer = httpx.post(f"{topology.proxy}/v1/tag", content=samples.jpeg())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:sigrl:problem:not-ready"


class Client(threading.Thread):
    """Tags one photograph after the other, and tries once more when that fails."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self._stopped = f"{url}/v1/tag?labels=cat,dog", threading.Event()
        self.answered = self.retried = 0
        self.lost: list[str] = []

    def run(self) -> None:
        photograph = samples.jpeg()
        with httpx.Client(timeout=LONG) as client:
            while not self._stopped.is_set():
                failure = self._ask(client, photograph)
                if failure is not None:
                    self.retried += 1
                    failure = self._ask(client, photograph)
                if failure is not None:
                    self.lost.append(failure)
                # The two cores are needed to start a replica, too.
                self._stopped.wait(0.05)

    def _ask(self, client: httpx.Client, photograph: bytes) -> str | None:
        try:
            answer = client.post(self._url, content=photograph, headers={"content-type": "image/jpeg"})
        except httpx.HTTPError as error:
            return repr(error)
        if answer.status_code != 200:
            return answer.text
        self.answered += 1
        return None

    def stop(self) -> None:
        self._stopped.set()
        self.join(LONG)


def _write_nginx(topology: Topology) -> None:
    main = (DEPLOY / "nginx" / "container.conf").read_text()
    (topology.folder / "nginx.conf").write_text(main.replace(" /tmp/", f" {topology.folder}/nginx-"))
    site = (DEPLOY / "nginx" / "site.conf").read_text()
    listen = "listen 8080;"
    assert site.count(listen) == 1
    (topology.folder / "conf.d").mkdir()
    (topology.folder / "conf.d" / "sigrl.conf").write_text(
        site.replace(listen, f"listen {topology.proxy.removeprefix('http://')};")
    )
    local = (DEPLOY / "nginx" / "replicas.conf").read_text()
    assert local.count("127.0.0.1:8000") == 1
    (topology.folder / "sigrl-replicas.conf").write_text(
        "".join(local.replace(":8000", f":{replica.port}") for replica in topology.replicas)
    )


def _write_prometheus(topology: Topology) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    (found,) = job.pop("dns_sd_configs")
    assert found["names"] == ["replica"]
    targets = [f"127.0.0.1:{replica.port}" for replica in topology.replicas]
    job["static_configs"] = [{"targets": targets}]
    (topology.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(DEPLOY / "alerts.yml", topology.folder)


def _rules(topology: Topology) -> list[dict[str, str]]:
    groups = httpx.get(f"{topology.prometheus}/api/v1/rules").json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _tagged(replica: Replica) -> int:
    """How many photographs it has tagged since it started."""
    lines = httpx.get(f"{replica.url}/metrics").text.splitlines()
    return int(float(next(line.split()[1] for line in lines if line.startswith("sigrl_images_tagged_total"))))


def _status(url: str) -> int | None:
    try:
        return httpx.get(url).status_code
    except httpx.HTTPError:
        return None


@contextmanager
def _running(command: list[str], ready: str, log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until(lambda: _status(ready) == 200, process, log)
        yield
    finally:
        process.terminate()
        process.wait(LONG)


def _wait_until(
    true: Callable[[], object], process: "subprocess.Popen[bytes] | None" = None, log: Path | None = None
) -> None:
    end = time.monotonic() + LONG
    while not true():
        told = "" if log is None else log.read_text()
        assert process is None or process.poll() is None, told
        assert time.monotonic() < end, f"it does not happen\n{told}"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
