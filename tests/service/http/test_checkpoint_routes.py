import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images as samples
from checkpoints import fake_bundles
from checkpoints.fake_bundles import fake_runtime, fake_tagger
from fake_engine import FakeEngine, FakeFeatures
from fastapi.testclient import TestClient
from two_checkpoints import load, wait_until

from sigrl.model.bundle_files import MANIFEST, bundled_path
from sigrl.service.app import create_app
from sigrl.service.checkpoints.bundles import BundleStore
from sigrl.service.errors import CheckpointNotFoundError
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

FIRST = "/v1/checkpoints/sha256:first"


class Timid(FakeEngine):
    """Finds nothing."""

    def score(self, image_features: FakeFeatures, label_features: FakeFeatures) -> np.ndarray:
        return super().score(image_features, label_features) - 8


class Fragile(FakeEngine):
    """Fails on whatever shows anything."""

    def encode_images(self, pixel_values: np.ndarray) -> FakeFeatures:
        if pixel_values.any():
            raise ArithmeticError("too colourful")
        return super().encode_images(pixel_values)


def _load(path: Path) -> Tagger:
    kinds = {"timid": Timid, "fragile": Fragile}
    if path.name in kinds:
        return Tagger(engine=kinds[path.name](f"sha256:{path.name}"), vocabulary=fake_bundles.VOCABULARY)
    return fake_bundles.load(path)


def _client(**settings: Any) -> TestClient:
    runtime = fake_runtime(loader=_load, **settings)
    return TestClient(create_app(Settings(**settings), runtime=runtime), raise_server_exceptions=False)


def _problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:sigrl:problem:{code}"
    return problem


def _tag(client: TestClient) -> dict[str, Any]:
    answer = client.post("/v1/tag", content=samples.jpeg(), headers={"content-type": "image/jpeg"})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def _compared(client: TestClient, checkpoint: str, photographs: int) -> dict[str, Any]:
    """Its report, after so many photographs."""

    def seen() -> bool:
        report = client.get(f"/v1/checkpoints/{checkpoint}/drift").json()
        if report["photographs"] + report["failures"] >= photographs:
            return True
        _tag(client)
        return False

    wait_until(seen)
    report: dict[str, Any] = client.get(f"/v1/checkpoints/{checkpoint}/drift").json()
    return report


def test_load_activate_roll_back_and_unload() -> None:
    with _client() as client:
        listed = client.get("/v1/checkpoints").json()
        assert (listed["active"], listed["previous"], listed["problem"]) == ("sha256:first", None, None)
        new = load(client, "new")
        assert _tag(client)["checkpoint"] == "sha256:first"
        assert client.post(f"/v1/checkpoints/{new}/activate").json()["state"] == "active"
        assert _tag(client)["checkpoint"] == client.get("/readyz").json()["checkpoint"] == new
        assert client.get(FIRST).json()["previous"] is True
        assert client.post("/v1/checkpoints/rollback").json()["id"] == "sha256:first"
        assert _tag(client)["checkpoint"] == "sha256:first"
        assert client.post(f"/v1/checkpoints/{new}/unload").json()["state"] == "retired"
        listed = client.get("/v1/checkpoints").json()
        assert (listed["generation"], listed["previous"]) == (2, None)


def test_invalid_checkpoint_requests_are_rejected() -> None:
    with _client() as client:
        for path in ("/v1/checkpoints/sha256:no", "/v1/checkpoints/sha256:no/drift"):
            _problem(client.get(path), 404, "checkpoint-not-found")
        _problem(client.post("/v1/checkpoints/sha256:no/activate"), 404, "checkpoint-not-found")
        _problem(client.post("/v1/checkpoints/load", json={"bundle": "nowhere"}), 404, "checkpoint-not-found")
        _problem(client.post("/v1/checkpoints/load", json={}), 422, "invalid-parameter")
        _problem(client.post("/v1/checkpoints/rollback"), 409, "checkpoint-state")
        _problem(client.post(f"{FIRST}/unload"), 409, "checkpoint-state")
        _problem(client.post(f"{FIRST}/shadow"), 409, "checkpoint-state")
        _problem(client.post(f"{FIRST}/shadow", json={"share": 2}), 422, "invalid-parameter")


def test_bundle_names_cannot_escape_the_folder(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "store" / "empty").mkdir(parents=True)
    (tmp_path / "store" / "empty" / "manifest.json").write_text("{}")
    settings = Settings(checkpoints=tmp_path / "store")
    with TestClient(create_app(settings, fake_tagger("first"))) as client:
        for name in (str(tiny_bundle), "../store/empty", "..", ".hidden", "a/b", "a\0b"):
            answer = client.post("/v1/checkpoints/load", json={"bundle": name})
            _problem(answer, 404, "checkpoint-not-found")
        answer = client.post("/v1/checkpoints/load", json={"bundle": "empty"})
        _problem(answer, 422, "unusable-bundle")
        (bundle,) = client.get("/v1/checkpoints").json()["bundles"]
        assert (bundle["bundle"], bundle["checkpoint"]) == ("empty", None)
        assert "format version" in bundle["problem"]


def test_shadow_is_compared_but_serves_no_responses() -> None:
    with _client() as client:
        timid = load(client, "timid")
        assert client.post(f"/v1/checkpoints/{timid}/shadow", json={"share": 1}).json()["state"] == "shadow"
        report = _compared(client, timid, 3)
        assert _tag(client)["checkpoint"] == "sha256:first"
        assert (report["changed_tags"], report["failures"], report["exceeded"]) == (1.0, 0, [])
        assert {label["label"] for label in report["labels"] if label["changed_tags"]} == {"red", "blue"}
        assert report["probability_shift"] < 0 < report["probability_change"]
        assert report["latency_ratio"] > 0
        assert client.post(f"/v1/checkpoints/{timid}/shadow", json={"share": 0}).json()["state"] == "ready"


def test_failing_shadow_affects_no_responses_and_is_not_activated() -> None:
    with _client(drift_changed_tags=0.5, drift_photographs=1) as client:
        fragile = load(client, "fragile")
        client.post(f"/v1/checkpoints/{fragile}/shadow", json={"share": 1})
        assert _compared(client, fragile, 1)["failures"] >= 1
        problem = _problem(client.post(f"/v1/checkpoints/{fragile}/activate"), 409, "drift-exceeded")
        assert "failed" in problem["detail"]


def test_drift_limits_block_activation_unless_forced() -> None:
    with _client(drift_changed_tags=0.5, drift_photographs=2) as client:
        timid, same = load(client, "timid"), load(client, "same")
        problem = _problem(client.post(f"/v1/checkpoints/{same}/activate"), 409, "drift-exceeded")
        assert problem["drift"]["photographs"] == 0
        client.post(f"/v1/checkpoints/{timid}/shadow", json={"share": 1})
        _compared(client, timid, 2)
        problem = _problem(client.post(f"/v1/checkpoints/{timid}/activate"), 409, "drift-exceeded")
        assert problem["drift"]["changed_tags"] == 1.0
        assert "limit of 0.5" in problem["detail"]

        client.post(f"/v1/checkpoints/{same}/shadow", json={"share": 1})
        assert _compared(client, same, 2)["changed_tags"] == 0.0
        assert client.post(f"/v1/checkpoints/{same}/activate").status_code == 200
        forced = client.post(f"/v1/checkpoints/{timid}/activate", json={"force": True})
        assert forced.status_code == 200
        # The way back is not barred.
        assert client.post("/v1/checkpoints/rollback").json()["id"] == same


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_shadow_gets_its_share_of_requests(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = fake_runtime(loader=_load, shadow_share=share)
    drawn = iter(np.linspace(0, 1, 8, endpoint=False))
    monkeypatch.setattr("sigrl.service.checkpoints.shadow.random.random", lambda: next(drawn))
    with TestClient(create_app(Settings(), runtime=runtime)) as client:
        same = load(client, "same")
        client.post(f"/v1/checkpoints/{same}/shadow")
        for _ in range(8):
            _tag(client)
            wait_until(lambda: runtime._shadowing._shadower._free._value)
        report = client.get(f"/v1/checkpoints/{same}/drift").json()
    assert report["photographs"] == 8 * share


def test_checkpoint_parameter_selects_the_checkpoint() -> None:
    runtime = fake_runtime("first")
    with TestClient(create_app(Settings(), runtime=runtime)) as client:
        other = load(client, "other")
        files = [("image", ("a.jpg", samples.jpeg()))]
        for path in ("/v1/tag", "/v1/explain"):
            form = {"labels": "red"}
            answers = [
                client.post(path, files=files, data=form | asked) for asked in ({}, {"checkpoint": other})
            ]
            assert [answer.status_code for answer in answers] == [200, 200]
            assert [answer.json()["checkpoint"] for answer in answers] == ["sha256:first", other]
        in_json = {"images": [{"data": base64.b64encode(samples.jpeg()).decode()}], "checkpoint": other}
        assert client.post("/v1/tag", json=in_json).json()["checkpoint"] == other
        wrong = client.post("/v1/tag", files=files, params={"checkpoint": "sha256:nobody"})
        assert wrong.status_code == 409
        assert "not in memory" in wrong.json()["detail"]
        client.post(f"/v1/checkpoints/{other}/unload")
        assert client.post("/v1/tag", files=files, params={"checkpoint": other}).status_code == 409


def test_unique_checkpoint_id_prefix_is_accepted() -> None:
    with _client() as client:
        load(client, "timid")
        for beginning in ("t", "timid", "sha256:ti", "sha256:timid"):
            assert client.get(f"/v1/checkpoints/{beginning}").json()["id"] == "sha256:timid"
            answer = client.post(f"/v1/tag?checkpoint={beginning}", content=samples.jpeg())
            assert answer.json()["checkpoint"] == "sha256:timid"
        load(client, "timothy")
        problem = _problem(client.get("/v1/checkpoints/sha256:tim"), 404, "checkpoint-not-found")
        assert "2 checkpoints" in problem["detail"]
        _problem(client.post("/v1/tag?checkpoint=tim", content=samples.jpeg()), 404, "checkpoint-not-found")
        assert client.post("/v1/checkpoints/timi/activate").json()["id"] == "sha256:timid"
        for none in ("x", "sha256:", "imid"):
            _problem(client.get(f"/v1/checkpoints/{none}"), 404, "checkpoint-not-found")


def test_bundle_is_found_by_a_checkpoint_id_prefix(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    manifest = (bundled_path() / MANIFEST).read_bytes()
    (tmp_path / "a" / MANIFEST).write_bytes(manifest)
    store = BundleStore(tmp_path)
    found = store.find("a")
    digits = found.checkpoint_id.removeprefix("sha256:")
    for beginning in (digits[:12], f"sha256:{digits[:6]}", found.checkpoint_id):
        assert store.find(beginning) == found
    for none in (digits[:5], "0" * 12, f"sha256:{'0' * 64}"):
        with pytest.raises(CheckpointNotFoundError):
            store.find(none)
    # Now two are meant.
    (tmp_path / "b" / MANIFEST).write_bytes(manifest)
    with pytest.raises(CheckpointNotFoundError):
        store.find(digits[:12])
