"""`sigrl immich`, against a stand-in with the interface of Immich."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi import FastAPI
from immich_stand_in import KEY, PARTNER, StandIn, immich
from PIL import Image
from two_checkpoints import serving


@pytest.fixture(autouse=True)
def _here(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)
    monkeypatch.setenv("IMMICH_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colours.json").write_text(
        '["colour", {"name": "red", "parent": "colour"}, {"name": "blue", "parent": "colour"}, "green"]'
    )


@pytest.fixture
def library() -> StandIn:
    return StandIn()


@pytest.fixture
def url(library: StandIn) -> Iterator[str]:
    with serving(immich(library)) as client:
        yield str(client.base_url)


def _of(colour: str) -> bytes:
    return samples.encode(Image.new("RGB", (32, 32), colour), "JPEG", quality=95)


VOCABULARY = ("--vocabulary", "colours.json")


def test_nothing_changes_without_apply(sigrl, url: str, library: StandIn) -> None:
    asset = library.add("a.jpg", _of("red"))
    status, told, _ = sigrl("immich", url, *VOCABULARY)
    assert status == 0
    assert "1 tags would be added and 0 removed in Immich" in told
    assert "--apply" in told
    assert not [each for each in library.requests if each.startswith(("PUT", "DELETE"))]
    assert not library.tags
    rows = list(csv.DictReader(Path("immich.csv").read_text().splitlines()))
    assert (f"{asset}/a.jpg", "red", "true") in [(row["path"], row["label"], row["accepted"]) for row in rows]


def test_images_of_several_pages_get_tags_under_our_root_tag(sigrl, url: str, library: StandIn) -> None:
    reds = [library.add(f"{number}.jpg", _of("red")) for number in range(5)]
    archived = library.add("old.jpg", _of("blue"), visibility="archive")
    both = library.add("both.jpg", samples.jpeg())
    film = library.add("film.mp4", _of("red"), type="VIDEO")
    of_partner = library.add("hers.jpg", _of("red"), ownerId=PARTNER)
    status, _, _ = sigrl("immich", f"{url}/api/", *VOCABULARY, "--apply")
    assert status == 0
    assert all(library.tags_of(asset) == {"SigRL/colour/red"} for asset in reds)
    assert library.tags_of(archived) == {"SigRL/colour/blue"}
    assert library.tags_of(both) == {"SigRL/colour/red", "SigRL/colour/blue"}
    assert not library.tags_of(film) | library.tags_of(of_partner)


def test_apply_after_a_dry_run_fetches_no_image_again(sigrl, url: str, library: StandIn) -> None:
    asset = library.add("a.jpg", _of("red"))
    sigrl("immich", url, *VOCABULARY)
    library.requests.clear()
    assert sigrl("immich", url, *VOCABULARY, "--apply")[0] == 0
    assert library.tags_of(asset) == {"SigRL/colour/red"}
    assert not [each for each in library.requests if "thumbnail" in each]


def test_only_our_tags_are_removed(sigrl, url: str, library: StandIn) -> None:
    asset, untouched = library.add("a.jpg", _of("red")), library.add("no preview.jpg", None)
    library.give("holiday", asset)
    library.give("SigRLike/green", asset)
    library.give("SigRL/colour/blue", asset)
    library.give("SigRL/gone", asset)
    library.give("SigRL/gone", untouched)
    status, told, _ = sigrl("immich", url, *VOCABULARY, "--apply")
    assert status == 1, "one has no preview"
    assert "1 tags were added and 2 removed" in told
    assert library.tags_of(asset) == {"holiday", "SigRLike/green", "SigRL/colour/red"}
    assert library.tags_of(untouched) == {"SigRL/gone"}, "it was not tagged, so nothing is known about it"
    assert (
        "previews" in Path("immich.errors.csv").read_text()
        or "preview" in Path("immich.errors.csv").read_text()
    )


def test_tags_removed_by_the_owner_are_not_added_again(sigrl, url: str, library: StandIn) -> None:
    asset = library.add("a.jpg", _of("red"))
    sigrl("immich", url, *VOCABULARY, "--apply")
    library.take("SigRL/colour/red", asset)
    later = library.add("b.jpg", _of("red"))
    assert sigrl("immich", url, *VOCABULARY, "--apply")[0] == 0
    assert library.tags_of(asset) == set()
    assert library.tags_of(later) == {"SigRL/colour/red"}


@pytest.mark.parametrize("where", ["GET /assets", "PUT /tags", "DELETE /tags"])
def test_run_resumes_after_a_server_error(sigrl, url: str, library: StandIn, where: str) -> None:
    assets = [library.add(f"{number}.jpg", _of("red")) for number in range(3)]
    library.give("SigRL/gone", assets[0])
    library.breaks_at = where
    status, _, err = sigrl("immich", url, *VOCABULARY, "--apply")
    assert status == 2
    assert "out of order" in err
    assert "the same command then continues" in err
    library.breaks_at = None
    assert sigrl("immich", url, *VOCABULARY, "--apply")[0] == 0
    assert all(library.tags_of(asset) == {"SigRL/colour/red"} for asset in assets)


def test_changed_vocabulary_requires_another_output_file(sigrl, url: str, library: StandIn) -> None:
    asset = library.add("a.jpg", _of("red"))
    sigrl("immich", url, *VOCABULARY, "--apply")
    Path("flat.json").write_text('["red", "green"]')
    status, _, err = sigrl("immich", url, "--vocabulary", "flat.json", "--apply")
    assert status == 2
    assert "give another --out" in err
    assert sigrl("immich", url, "--vocabulary", "flat.json", "--apply", "--out", "flat.csv")[0] == 0
    assert library.tags_of(asset) == {"SigRL/red"}


def test_image_rejected_by_immich_is_reported_and_retried(sigrl, url: str, library: StandIn) -> None:
    asset, other = library.add("a.jpg", _of("red")), library.add("b.jpg", _of("red"))
    library.refused = {asset}
    status, _, err = sigrl("immich", url, *VOCABULARY, "--apply")
    assert status == 1
    assert "refused to change 1 photographs" in err
    assert library.tags_of(other) == {"SigRL/colour/red"}
    library.refused = set()
    assert sigrl("immich", url, *VOCABULARY, "--apply")[0] == 0
    assert library.tags_of(asset) == {"SigRL/colour/red"}


@pytest.mark.parametrize("permission", ["asset.view", "tag.create", "tag.asset"])
def test_missing_permission_is_reported_before_tagging(
    sigrl, url: str, library: StandIn, engine: FakeEngine, permission: str
) -> None:
    library.add("a.jpg", _of("red"))
    library.permissions.remove(permission)
    status, _, err = sigrl("immich", url, *VOCABULARY, "--apply")
    assert status == 2
    assert f"no permission for {permission};" in err
    assert not engine.batches


def test_dry_run_needs_no_write_permission(sigrl, url: str, library: StandIn) -> None:
    library.add("a.jpg", _of("red"))
    library.permissions = ["user.read", "asset.read", "asset.view", "tag.read"]
    assert sigrl("immich", url, *VOCABULARY)[0] == 0


def test_invalid_api_key_is_reported(sigrl, url: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("another\n")
    status, _, err = sigrl("immich", url, "--key-file", tmp_path / "key")
    assert status == 2
    assert "does not know this API key" in err


def test_api_key_can_be_read_from_a_file(
    sigrl, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMMICH_API_KEY")
    status, _, err = sigrl("immich", url)
    assert (status, "no API key of Immich is given" in err) == (2, True)
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert sigrl("immich", url, *VOCABULARY, "--key-file", tmp_path / "key")[0] == 0


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://127.0.0.1:9", "does not answer"),
        ("photos.example.com", "is not the address of a server"),
    ],
)
def test_wrong_address_is_reported(sigrl, address: str, told: str) -> None:
    status, _, err = sigrl("immich", address)
    assert status == 2
    assert told in err


def test_server_that_is_not_immich_is_reported(sigrl) -> None:
    app = FastAPI()
    app.get("/api/api-keys/me")(lambda: {"hello": "world"})
    with serving(app) as client:
        status, _, err = sigrl("immich", client.base_url)
    assert status == 2
    assert "is not one of Immich 2" in err
