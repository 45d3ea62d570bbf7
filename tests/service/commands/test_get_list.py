"""`sigrl checkpoint get --list`: the models on offer, with the sizes that the hub states."""

import pytest
from hub.listed import MODEL
from hub.stand_in import StandIn

from sigrl.service.hub import catalogue

UNMEASURED = MODEL.model_copy(
    update={"name": "unmeasured", "repository": "someone/unmeasured", "source": "https://github.com/a/b/wiki"}
)
MEASURED = MODEL.model_copy(
    update={"imagenet": 71.5, "licence": "research only", "source": "https://github.com/maker/of-it"}
)


def rows(out: str) -> dict[str, str]:
    return {line.split()[0]: line for line in out.splitlines() if line}


def test_list_shows_sizes_published_results_and_their_sources(
    sigrl, hub: StandIn, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(catalogue, "catalogue", lambda: (UNMEASURED, MEASURED))
    status, out, err = sigrl("checkpoint", "get", "--list")
    assert status == 0, err
    measured, unmeasured = rows(out)["tiny-clip"], rows(out)["unmeasured"]
    assert f" {len(weights) / 1e6:.1f} MB" in measured
    assert "about" not in measured
    assert "71.5" in measured
    assert "research only" in measured
    assert " about 2.0 MB" in unmeasured
    assert "no figure" in unmeasured
    assert "none of it was measured here" in out
    assert "  https://github.com/maker/of-it: tiny-clip\n" in out
    assert "  https://github.com/a/b/wiki: unmeasured\n" in out
    assert f"{hub.address} states no size for unmeasured;" in out


def test_list_without_a_network_says_that_sizes_are_estimates(sigrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    status, out, _ = sigrl("checkpoint", "get", "--list")
    assert status == 0
    row = rows(out)["mobileclip2-s0"]
    assert "71.5" in row
    assert " about 299.2 MB" in row
    assert "no figure" in rows(out)["metaclip2-h14"]
    assert "  https://github.com/apple/ml-mobileclip: mobileclip2-s0, mobileclip2-b\n" in out
    assert "http://127.0.0.1:1 cannot be reached;" in out
