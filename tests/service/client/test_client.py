"""The client and the service over a real socket."""

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images as samples
from checkpoints.fake_bundles import fake_runtime
from fake_engine import FakeEngine, FakeFeatures
from two_checkpoints import LONG, serving

from sigrl.service.app import create_app
from sigrl.service.client import AsyncClient, Client
from sigrl.service.errors import (
    CheckpointStateError,
    DamagedImageError,
    ImageNotFoundError,
    InvalidLabelsError,
    PreconditionError,
    TaggerError,
    UnsupportedImageError,
    VocabularyNotFoundError,
)
from sigrl.service.schemas.calibration import CalibrationGoal
from sigrl.service.schemas.checkpoints import State
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger


@pytest.fixture
def server(engine: FakeEngine) -> Iterator[str]:
    engine.has_background = True
    app = create_app(Settings(feedback_bytes=1 << 20, batch_images=1), Tagger(engine=engine))
    with serving(app) as client:
        yield str(client.base_url)


@pytest.fixture
def album(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.jpg", "damaged.jpg", "absent.jpg", "text.jpg", "höf\udcff.jpg")]
    paths[0].write_bytes(samples.jpeg())
    paths[1].write_bytes(samples.jpeg()[:300])
    paths[3].write_text("no photograph")
    paths[4].write_bytes(samples.jpeg())
    return paths


def test_client_tag_matches_the_service(
    call: Callable[..., Any], server: str, photograph: Path, tagger: Tagger
) -> None:
    answer = call(server, "tag", photograph, ["red", "salt, pepper"], top_k=2)
    assert answer.checkpoint == "sha256:fake"
    assert answer.images[0].filename == "photo.jpg"
    expected = tagger.tag(photograph, ["red", "salt, pepper"], top_k=2)
    assert (answer.images[0].tags, answer.vocabulary) == (expected.tags, expected.vocabulary)
    assert (
        call(server, "tag", samples.jpeg(), ["red", "green"], threshold=0.0).images[0].tags[1].label
        == "green"
    )
    assert call(server, "tag", str(photograph), vocabulary="coco80").vocabulary.name == "coco80"
    both = call(server, "tag", [photograph, b"garbage"], ["red"])
    assert [image.status for image in both.images] == [200, 415]
    with pytest.raises(UnsupportedImageError):
        call(server, "tag", b"garbage")
    with pytest.raises(ImageNotFoundError):
        call(server, "tag", "absent.jpg")
    with pytest.raises(InvalidLabelsError, match="twice"):
        call(server, "tag", photograph, ["dog", "dog"])


def test_client_explain_matches_the_service(
    call: Callable[..., Any], server: str, photograph: Path, tagger: Tagger
) -> None:
    expected = tagger.explain(photograph, ["red", "salt, pepper"])
    assert call(server, "explain", photograph, ["red", "salt, pepper"]) == expected
    few = call(server, "explain", samples.jpeg(), vocabulary="coco80", top_k=3)
    assert (few.vocabulary.name, len(few.tags)) == ("coco80", 3)
    with pytest.raises(DamagedImageError):
        call(server, "explain", samples.jpeg()[:300])


def test_tag_many_returns_an_outcome_per_image(
    call: Callable[..., Any], server: str, album: list[Path], tagger: Tagger
) -> None:
    results = sorted(call(server, "tag_many", album, ["red"], at_once=2), key=lambda result: result.index)
    kinds = [type(result.outcome) for result in results]
    assert kinds == [tuple, DamagedImageError, ImageNotFoundError, UnsupportedImageError, tuple]
    assert results[4].tagging == tagger.tag(album[4], ["red"])
    with pytest.raises(DamagedImageError):
        _ = results[1].tagging
    (several,) = call(server, "tag_many", album[:1], vocabularies=["coco80", "voc20"])
    assert [tagging.vocabulary.name for tagging in several.outcome] == ["coco80", "voc20"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_tag_many_yields_results_as_they_finish(kind: type, server: str, engine: FakeEngine) -> None:
    opened, encode = threading.Event(), engine.encode_images

    def encode_images(pixel_values: np.ndarray) -> FakeFeatures:
        assert opened.wait(LONG)
        return encode(pixel_values)

    engine.encode_images = encode_images  # type: ignore[method-assign]
    photographs = [samples.jpeg(), b"garbage"]

    def check(number: int, index: int) -> None:
        assert (number, index, opened.is_set()) in [(0, 1, False), (1, 0, True)]
        opened.set()

    async def asynchronous() -> None:
        async with AsyncClient(server) as client:
            number = 0
            async for result in client.tag_many(photographs, ["red"]):
                check(number, result.index)
                number += 1
            assert number == 2

    if kind is AsyncClient:
        asyncio.run(asynchronous())
    else:
        with Client(server) as client:
            for number, result in enumerate(client.tag_many(photographs, ["red"])):
                check(number, result.index)
            assert number == 1


def test_vocabulary_methods_use_etags(call: Callable[..., Any], server: str) -> None:
    first = call(server, "put_vocabulary", "pets", ["dog", "cat"], new=True)
    assert (first.version, first.size) == (1, 2)
    stored = call(server, "get_vocabulary", "pets")
    assert (stored.etag, [label.name for label in stored.labels]) == (first.etag, ["dog", "cat"])
    second = call(server, "put_vocabulary", "pets", ["dog"], if_match=stored.etag)
    assert second.version == 2
    for options in ({"if_match": stored.etag}, {"new": True}):
        with pytest.raises(PreconditionError):
            call(server, "put_vocabulary", "pets", ["mouse"], **options)
    # A vocabulary from GET can be PUT, with all fields of its labels.
    everyday = call(server, "get_vocabulary", "everyday")
    assert call(server, "put_vocabulary", "copy", everyday).hash == everyday.hash
    assert call(server, "get_vocabulary", "pets", 1).size == 2
    for number in range(101):
        call(server, "put_vocabulary", f"v{number}", ["dog"])
    names = [each.name for each in call(server, "list_vocabularies")]
    assert len(names) == len(set(names)) == 5 + 2 + 101
    with pytest.raises(PreconditionError):
        call(server, "delete_vocabulary", "pets", if_match='"nothing"')
    call(server, "delete_vocabulary", "pets", if_match=second.etag)
    with pytest.raises(VocabularyNotFoundError):
        call(server, "get_vocabulary", "pets")
    with pytest.raises(TaggerError):
        call(server, "get_vocabulary", "../checkpoints")


def test_calibration_feedback_and_embedding_methods(
    call: Callable[..., Any], server: str, photograph: Path
) -> None:
    call(server, "put_vocabulary", "colours", ["red", "green"])
    goal = CalibrationGoal(kind="precision", value=0.9)
    report = call(server, "calibrate", "colours", [(photograph, {"red": True, "green": False})], goal)
    assert [(label.positives, label.negatives) for label in report.labels] == [(1, 0), (0, 1)]
    assert report.goal == goal
    assert (
        call(server, "calibrate", "colours", [(samples.jpeg(9, 9), {"red": True})], replace=True).examples
        == 1
    )

    weighed = call(server, "weigh", "colours", [photograph, samples.jpeg(9, 9)])
    assert sorted(call(server, "suggest", "colours", weighed.images).suggested) == [0, 1]
    assert call(server, "preview", photograph).startswith(b"\xff\xd8")

    told = call(server, "give_feedback", photograph, right=["red"], wrong=["salt, pepper", "green"])
    assert (told.right, told.wrong) == (("red",), ("green", "salt, pepper"))

    labels = call(server, "embed_labels", ["red", "green"])
    assert [label.label for label in labels.labels] == ["red", "green"]
    images = call(server, "embed_photographs", [photograph])
    assert len(images.images[0].embedding) == len(labels.labels[0].embedding)


def test_checkpoint_methods(call: Callable[..., Any]) -> None:
    with serving(create_app(Settings(), runtime=fake_runtime(registered=()))) as http:
        server = str(http.base_url)
        with pytest.raises(CheckpointStateError):
            call(server, "roll_back")
        info = call(server, "load_checkpoint", "new")
        while info.state is not State.READY:
            info = call(server, "get_checkpoint", info.id)
        assert call(server, "activate_checkpoint", info.id).state is State.ACTIVE
        assert call(server, "list_checkpoints").active == info.id
        assert call(server, "roll_back").bundle == "first"


def test_sync_and_async_clients_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, list[tuple[str, object]]]:
        return {
            name: [(each.name, each.default) for each in inspect.signature(method).parameters.values()]
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert public(Client) == public(AsyncClient)


def test_client_imports_no_heavy_modules() -> None:
    heavy = {"torch", "PIL", "fastapi", "starlette", "sqlalchemy", "onnxruntime"}
    code = f"import sys, sigrl.service.client; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
