"""The whole house with a real TorchEngine: once on random weights, once on the checkpoint that ships."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sigrl import Tagger
from sigrl.service import errors
from sigrl.service.app import create_app
from sigrl.service.settings import Settings

EXAMPLES = Path(__file__).parents[3] / "examples"
PHOTOGRAPH = EXAMPLES / "cat.jpg"
LABELS = ["dog", "cat", "salt, pepper", "ein Hund", "🐈"]


def test_python_command_line_and_http_give_the_same_result(tiny_bundle: Path) -> None:
    tagger = Tagger(tiny_bundle)
    expected = tagger.tag(PHOTOGRAPH, LABELS, top_k=5).model_dump(mode="json")
    assert len(expected["tags"]) == 5

    arguments = ["--labels", json.dumps(LABELS), "--top-k", 5, "--checkpoint", tiny_bundle, "--json"]
    # In a process of its own, as users start it: what libraries print while they load would show.
    command = [
        sys.executable,
        "-c",
        "from sigrl.service.cli import main; main()",
        "tag",
        PHOTOGRAPH,
        *arguments,
    ]
    ran = subprocess.run(
        [*map(str, command)], check=False, capture_output=True, text=True, cwd=EXAMPLES.parent
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == {"path": str(PHOTOGRAPH), **expected}

    with TestClient(create_app(Settings(checkpoint=tiny_bundle))) as client:
        assert client.get("/readyz").json()["checkpoint"] == expected["checkpoint"]
        data = {"labels": json.dumps(LABELS), "top_k": "5"}
        answer = client.post("/v1/tag", files={"image": PHOTOGRAPH.read_bytes()}, data=data).json()
    assert answer["checkpoint"] == expected["checkpoint"]
    assert answer["vocabulary"] == expected["vocabulary"]
    assert answer["images"][0]["tags"] == expected["tags"]


def test_batch_results_match_single_image_results(tiny_bundle: Path) -> None:
    tagger, photographs = Tagger(tiny_bundle), sorted(EXAMPLES.glob("*.jpg"))
    for path, together in zip(photographs, tagger.tag_many(photographs, LABELS, top_k=5), strict=True):
        assert not isinstance(together, errors.ImageError)
        alone = tagger.tag(path, LABELS, top_k=5)
        for a, b in zip(alone.tags, together.tags, strict=True):
            assert a.label == b.label
            assert a.probability == pytest.approx(b.probability, abs=1e-5)


def test_unusable_checkpoint_is_reported_in_one_line(sigrl, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(errors.CheckpointError) as caught:
        Tagger(tmp_path)
    assert caught.value.hint
    for command in (["tag", PHOTOGRAPH], ["serve"]):
        status, out, err = sigrl(*command, "--checkpoint", tmp_path)
        assert (status, out) == (2, "")
        # `serve` also writes its log, as lines of JSON.
        (told,) = (line for line in err.splitlines() if not line.startswith("{"))
        assert "manifest.json" in told


def test_bundled_checkpoint_tags_the_example_images() -> None:
    tagger = Tagger()
    assert "cat" in tagger.tag(EXAMPLES / "cat.jpg").labels
    # Some of the first are what others of them are kinds of: table, furniture, food.
    assert "cup" in tagger.tag(EXAMPLES / "coffee.jpg", top_k=15, threshold=0.0).labels
    assert tagger.tag(EXAMPLES / "cat.jpg", ["cat", "dog"]).labels == ("cat",)
    assert tagger.tag(EXAMPLES / "cat.jpg", ["dog"]).labels == ()
