"""Checkpoints that take over from one another while clients ask, over a real socket."""

import json
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from two_checkpoints import load, save_other_bundle, serving, wait_until

from sigrl.model.manifest import Description
from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.calibration_store import CalibrationStore
from sigrl.service.vocabularies.label_calibrator import LabelCalibrator
from sigrl.service.vocabularies.registry import VocabularyRegistry

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.jpg"))
LABELS = ["dog", "cat", "red", "blue"]


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_bundle: Path,
    tiny_description: Description,
    tokenizer_definition: bytes,
) -> Path:
    """A folder with the bundles `one` and `two`."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copytree(tiny_bundle, folder / "one")
    save_other_bundle(folder / "two", tiny_description, tokenizer_definition)
    return folder


def _offline(bundle: Path) -> tuple[str, list[dict[str, float]]]:
    """The checkpoint's id, and what it says of each example."""
    tagger = Tagger(bundle)
    answers = [tagger.tag(path, LABELS, top_k=4) for path in EXAMPLES]
    return tagger.engine.checkpoint_id, [
        {tag.label: tag.probability for tag in answer.tags} for answer in answers
    ]


def test_requests_during_swaps_succeed_with_a_single_checkpoint_each(store: Path) -> None:
    expected = dict(_offline(store / name) for name in ("one", "two"))
    assert len(expected) == 2
    photographs = [path.read_bytes() for path in EXAMPLES]
    files = [("image", (path.name, data)) for path, data in zip(EXAMPLES, photographs, strict=True)]
    app = create_app(Settings(checkpoint=store / "one", checkpoints=store))
    answers: list[dict[str, Any]] = []
    with serving(app) as client, ThreadPoolExecutor(3) as pool:
        # The configured one lies in the folder too, under the same id.
        ids = [load(client, "one"), load(client, "two")]
        end = time.monotonic() + 2

        def ask(_: int) -> None:
            with httpx.Client(base_url=client.base_url, timeout=60) as own:
                while time.monotonic() < end:
                    answer = own.post("/v1/tag", files=files, data={"labels": ",".join(LABELS), "top_k": "4"})
                    assert answer.status_code == 200, answer.text
                    answers.append(answer.json())

        asking = [pool.submit(ask, number) for number in range(3)]
        swaps = 0
        while time.monotonic() < end:
            swaps += 1
            assert client.post(f"/v1/checkpoints/{ids[swaps % 2]}/activate").status_code == 200
            time.sleep(0.1)
        for each in asking:
            each.result()
        assert client.get("/v1/checkpoints").json()["generation"] == swaps + 1
    assert {answer["checkpoint"] for answer in answers} == set(ids)
    for answer in answers:
        said = [{tag["label"]: tag["probability"] for tag in image["tags"]} for image in answer["images"]]
        for got, wanted in zip(said, expected[answer["checkpoint"]], strict=True):
            assert got == pytest.approx(wanted, abs=1e-4)


def test_calibrated_responses_are_reproducible_from_their_versions(store: Path) -> None:
    """Checkpoints are swapped every second and examples come in between: every answer is computed again
    offline from the checkpoint, the vocabulary's version and the calibration that it names."""
    settings = Settings(checkpoint=store / "one", checkpoints=store)
    files = [("image", (path.name, path.read_bytes())) for path in EXAMPLES]
    answers: list[dict[str, Any]] = []
    with serving(create_app(settings)) as client, ThreadPoolExecutor(3) as pool:
        ids = [load(client, "one"), load(client, "two")]
        for labels in (LABELS[::-1], LABELS):
            assert client.put("/v1/vocabularies/mine", json=labels).is_success

        def calibrate(label: str) -> None:
            shown = [{"positive": [label]}] + [{"negative": "others"}] * (len(EXAMPLES) - 1)
            answer = client.post(
                "/v1/vocabularies/mine/calibrate", files=files, data={"examples": json.dumps(shown)}
            )
            assert answer.status_code == 200, answer.text

        calibrate("cat")
        shadow = f"/v1/checkpoints/{ids[1]}"
        assert client.post(f"{shadow}/shadow", json={"share": 0.1}).status_code == 200
        wait_until(lambda: client.get(f"{shadow}/drift").json()["calibration_error"] is not None)
        assert 0 <= client.get(f"{shadow}/drift").json()["calibration_error_active"] <= 1
        client.post(f"{shadow}/shadow", json={"share": 0})
        swaps, swapped = 5, threading.Event()

        def ask(_: int) -> None:
            with httpx.Client(base_url=client.base_url, timeout=60) as own:
                last = False
                while not last:
                    last = swapped.is_set()
                    answer = own.post("/v1/tag", files=files, data={"vocabulary": "mine", "top_k": "4"})
                    assert answer.status_code == 200, answer.text
                    answers.append(answer.json())

        asking = [pool.submit(ask, number) for number in range(3)]
        for swap in range(swaps):
            time.sleep(1)
            assert client.post(f"/v1/checkpoints/{ids[(swap + 1) % 2]}/activate").status_code == 200
            if swap in (1, 3):
                calibrate(LABELS[swap])
        swapped.set()
        for each in asking:
            each.result()
    expected = _recomputed(store, settings, (1, 2, 3))
    seen = {(answer["checkpoint"], answer["vocabulary"]["calibration"]) for answer in answers}
    assert {checkpoint for checkpoint, _ in seen} == set(ids)
    assert {number for _, number in seen} == {1, 2, 3}
    for answer in answers:
        named = answer["vocabulary"]
        assert (named["name"], named["version"]) == ("mine", 2)
        wanted = expected[answer["checkpoint"], named["calibration"]]
        for image, tags in zip(answer["images"], wanted, strict=True):
            said = {tag["label"]: (tag["probability"], tag["threshold"]) for tag in image["tags"]}
            assert said.keys() == tags.keys()
            for label, numbers in said.items():
                assert numbers == pytest.approx(tags[label], abs=1e-4)


def _recomputed(
    store: Path, settings: Settings, calibrations: Sequence[int]
) -> dict[tuple[str, int], list[dict[str, tuple[float, float]]]]:
    """Probabilities and thresholds of each example, by checkpoint and calibration."""
    registry = VocabularyRegistry.open(settings)
    newest = registry.get("mine", 2)
    found = {}
    for bundle in ("one", "two"):
        tagger = Tagger(store / bundle, label_calibrator=LabelCalibrator(CalibrationStore(registry.database)))
        for number in calibrations:
            vocabulary = newest.model_copy(update={"calibration": number, "calibrated": None})
            found[tagger.engine.checkpoint_id, number] = [
                {
                    tag.label: (tag.probability, tag.threshold)
                    for tag in tagger.tag(path, vocabulary, top_k=4).tags
                }
                for path in EXAMPLES
            ]
    registry.close()
    return found


def test_restart_continues_with_the_activated_checkpoint(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(store, folder)
    settings = Settings(checkpoint=folder / "one", checkpoints=folder)
    with TestClient(create_app(settings)) as client:
        first = client.get("/v1/checkpoints").json()
        assert (first["generation"], first["problem"]) == (1, None)
        two = load(client, "two")
        assert client.post(f"/v1/checkpoints/{two}/activate").json()["state"] == "active"
    with TestClient(create_app(settings)) as client:
        now = client.get("/v1/checkpoints").json()
        assert (now["generation"], now["active"], now["problem"]) == (2, two, None)

    # Damaged meanwhile: the configured one answers, and says so.
    weights = folder / "two" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with TestClient(create_app(settings)) as client:
        now = client.get("/v1/checkpoints").json()
        assert (now["generation"], now["active"]) == (0, first["active"])
        assert "damaged" in now["problem"]
        place = client.post("/v1/checkpoints/load", json={"bundle": "two"}).headers["location"]
        while (info := client.get(place).json())["state"] != "failed":
            time.sleep(0.01)
        assert "model.safetensors is damaged" in info["reason"]
        assert client.post("/v1/tag?labels=dog", content=EXAMPLES[0].read_bytes()).status_code == 200

    # Who configures another one means that.
    with TestClient(create_app(Settings(checkpoint=store / "two", checkpoints=folder))) as client:
        now = client.get("/v1/checkpoints").json()
        assert (now["generation"], now["active"], now["problem"]) == (3, two, None)
