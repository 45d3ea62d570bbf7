"""A photograph through everything: bundle on disk, TorchEngine, tagger, HTTP. The weights are random."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sigrl.service.app import create_app
from sigrl.service.errors import CheckpointError
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def tagger(tiny_bundle: Path) -> Tagger:
    return Tagger(tiny_bundle)


def test_label_score_does_not_depend_on_other_labels(tagger: Tagger) -> None:
    photograph = EXAMPLES / "cat.jpg"
    many = tagger.tag(photograph, ["cat", "dog", "rocket", "cup of coffee"], threshold=0.0)
    alone = tagger.tag(photograph, ["cat"], threshold=0.0)
    (tag,) = alone.tags
    assert many.tags[[found.label for found in many.tags].index("cat")].score == pytest.approx(
        tag.score, abs=1e-4
    )
    assert alone.checkpoint == tagger.engine.checkpoint_id


def test_default_vocabulary_is_encoded_and_used(tagger: Tagger) -> None:
    answer = tagger.tag(EXAMPLES / "coffee.jpg", top_k=5)
    assert len(answer.tags) == 5


def test_image_is_tagged_over_http(tagger: Tagger) -> None:
    photograph = (EXAMPLES / "rocket.jpg").read_bytes()
    with TestClient(create_app(Settings(), tagger)) as client:
        answer = client.post("/v1/tag?labels=rocket,cat&top_k=2", content=photograph).json()
    assert answer["checkpoint"] == tagger.engine.checkpoint_id
    assert {tag["label"] for tag in answer["images"][0]["tags"]} == {"rocket", "cat"}


def test_damaged_bundle_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        Tagger(tmp_path)
