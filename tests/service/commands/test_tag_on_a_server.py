"""`sigrl tag --server` prints the same as `sigrl tag`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from two_checkpoints import serving

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger


@pytest.fixture
def server(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: FakeEngine())
    # One photograph at a time, so that a broken one finishes before those sent before it.
    with serving(create_app(Settings(batch_images=1), Tagger(engine=engine))) as client:
        client.put("/v1/vocabularies/mine", json=["red", "green"])
        yield str(client.base_url)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "below").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "below/c.jpg", "d.jpg"):
        (folder / name).write_bytes(samples.jpeg())
    (folder / "b.jpg").write_bytes(samples.jpeg()[:300])
    (folder / "d.jpg").write_text("no photograph")
    return folder


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--labels", "red,green", "--json"),
        ("--labels", '["red", "salt, pepper"]', "--top-k", 2),
        ("--labels", "red,green", "--threshold", 0.0, "--json"),
        ("--vocabulary", "mine", "--json"),
        ("--language", "de", "--top-k", 2, "--json"),
        ("--labels", "Hund,Brot", "--language", "de", "--top-k", 2, "--json"),
        ("--vocabulary", "mine", "--vocabulary", "coco80", "--top-k", 1),
    ],
)
def test_output_and_exit_status_match_local_tagging(
    sigrl, server: str, album: Path, options: tuple[object, ...]
) -> None:
    here = sigrl("tag", album, *options)
    assert here[0] == 1
    assert sigrl("tag", album, *options, "--server", server) == here


def test_tagging_on_a_server_loads_no_local_model(
    sigrl, server: str, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", None)
    monkeypatch.setenv("SIGRL_SERVER", server)
    status, out, err = sigrl("tag", photograph, "--labels", "red")
    assert (status, err) == (0, "")
    assert "red" in out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--labels", "dog,dog"), "twice"),
        (("--vocabulary", "nobodys"), "nobodys"),
        (("--vocabulary", "mine.txt"), "register the file there first"),
        (("--checkpoint", "."), "--server and --checkpoint"),
        (("--server", "http://a:b"), "does not answer"),
    ],
)
def test_invalid_requests_are_reported_in_one_line(
    sigrl,
    server: str,
    photograph: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setenv("SIGRL_SERVER", server)
    status, out, err = sigrl("tag", photograph, *options)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert told in err
