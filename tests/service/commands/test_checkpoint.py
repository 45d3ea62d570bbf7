import json
from collections.abc import Iterator

import httpx
import pytest
from checkpoints.fake_bundles import fake_runtime
from two_checkpoints import serving

from sigrl.service.app import create_app
from sigrl.service.settings import Settings


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr("sigrl.service.commands.activating._POLL_SECONDS", 0.01)
    with serving(create_app(Settings(), runtime=fake_runtime(registered=()))) as client:
        monkeypatch.setenv("SIGRL_SERVER", str(client.base_url))
        yield client


def test_load_activate_and_roll_back(sigrl, server: httpx.Client) -> None:
    assert sigrl("checkpoint", "load", "new") == (0, "new (new) is ready\n", "")
    assert sigrl("checkpoint", "activate", "new") == (0, "new (new) is active\n", "")
    assert sigrl("checkpoint", "rollback") == (0, "first (first) is active\n", "")
    assert sigrl("checkpoint", "activate", "sha256:ne")[1] == "new (new) is active\n"
    assert sigrl("checkpoint", "load", "newer", "--activate")[1] == "newer (newer) is active\n"
    status, out, _ = sigrl("checkpoint", "list")
    assert status == 0
    assert out.splitlines()[0] == "generation 4"
    assert [line.split()[:3] for line in out.splitlines()[2:]] == [
        ["first", "first", "ready"],
        ["new", "new", "ready"],
        ["newer", "newer", "active"],
    ]
    assert json.loads(sigrl("checkpoint", "list", "--json")[1]) == server.get("/v1/checkpoints").json()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["load", "huge"], "not enough memory"),
        (["load", "nowhere"], "there is none"),
        (["activate", "nowhere"], "no checkpoints match"),
        (["rollback"], "no checkpoint that was active before"),
        (["list", "--server", "http://127.0.0.1:1"], "does not answer"),
        (["list", "--server", "nonsense"], "does not answer"),
    ],
)
def test_failed_commands_are_reported_in_one_line(
    sigrl, server: httpx.Client, command: list[str], told: str
) -> None:
    assert server.is_closed is False
    status, out, err = sigrl("checkpoint", *command)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert told in err
