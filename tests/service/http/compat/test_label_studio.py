"""A vocabulary as Label Studio's ML backend."""

import http.client
import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import sample_images as samples
from anyio import to_thread
from fake_engine import FakeEngine
from label_studio_bodies import CONFIG, event, predict, setup
from PIL import Image
from two_checkpoints import LONG, serving, wait_until

from sigrl.service.app import create_app
from sigrl.service.serving.calibration import Calibrating
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

BACKEND = "/compat/label-studio/colours"


def _file(colour: str = "red") -> bytes:
    return samples.encode(Image.new("RGB", (32, 32), colour), "JPEG", quality=95)


def _photograph(colour: str = "red") -> str:
    return "data:image/jpeg;base64," + b64encode(_file(colour)).decode()


@pytest.fixture
def backend(server: httpx.Client) -> httpx.Client:
    server.put("/v1/vocabularies/colours", json=["red", "green", "blue"]).raise_for_status()
    return server


def test_backend_answers_health_and_setup(backend: httpx.Client) -> None:
    assert backend.get(f"{BACKEND}/health").json()["status"] == "UP"
    answer = backend.post(f"{BACKEND}/setup", json=setup())
    assert (answer.status_code, answer.json()) == (200, {"model_version": "sha256:fake"})
    assert backend.get("/compat/label-studio/unknown/health").status_code == 404


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (CONFIG.replace("green", "mauve"), "mauve"),
        (CONFIG.replace("Image", "Text"), "no choices for a photograph"),
        ("<View>", "not XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View/>', "document type"),
    ],
)
def test_unsupported_labelling_config_is_reported(backend: httpx.Client, config: str, told: str) -> None:
    for path, body in (("setup", setup(config)), ("predict", predict(_photograph(), config=config))):
        answer = backend.post(f"{BACKEND}/{path}", json=body)
        assert answer.status_code == 422
        assert told in answer.json()["detail"]


def test_predictions_are_returned_as_choices(backend: httpx.Client) -> None:
    broken = "data:image/jpeg;base64,AAAA"
    answer = backend.post(f"{BACKEND}/predict", json=predict(_photograph(), broken, _photograph("lime")))
    assert answer.status_code == 200, answer.text
    red, none, green = answer.json()["results"]
    assert red["result"] == [
        {"from_name": "tags", "to_name": "photo", "type": "choices", "value": {"choices": ["r"]}}
    ]
    assert red["score"] > 0.9
    assert none == {"result": [], "score": 0.0, "model_version": "sha256:fake"}
    assert green["result"][0]["value"] == {"choices": ["green"]}


def test_single_choice_returns_the_most_probable_label(backend: httpx.Client) -> None:
    both = "data:image/jpeg;base64," + b64encode(samples.jpeg()).decode()
    for config, count in ((CONFIG, 2), (CONFIG.replace("multiple", "single"), 1)):
        (result,) = backend.post(f"{BACKEND}/predict", json=predict(both, config=config)).json()["results"]
        assert len(result["result"][0]["value"]["choices"]) == count


def test_annotation_webhook_calibrates_the_vocabulary(backend: httpx.Client) -> None:
    first = backend.post(f"{BACKEND}/webhook", json=event(_photograph(), "r"))
    assert (first.status_code, first.json()) == (201, {"status": "calibrated", "calibration": 1})
    corrected = event(_photograph(), "green", action="ANNOTATION_UPDATED")
    assert backend.post(f"{BACKEND}/webhook", json=corrected).json()["calibration"] == 2
    assert backend.post(f"{BACKEND}/webhook", json=event(_photograph("blue"))).json()["calibration"] == 3
    report = backend.get("/v1/vocabularies/colours/calibration").json()
    assert report["examples"] == 2
    marks = {each["label"]: (each["positives"], each["negatives"]) for each in report["labels"]}
    assert marks == {"red": (0, 2), "green": (1, 1), "blue": (0, 2)}


def test_webhook_keeps_the_calibration_goal(backend: httpx.Client) -> None:
    form = {"examples": '[{"positive": ["red"], "negative": "others"}]', "goal": "recall", "value": "0.9"}
    path = "/v1/vocabularies/colours"
    backend.post(f"{path}/calibrate", files=[("image", _file())], data=form).raise_for_status()
    backend.post(f"{BACKEND}/webhook", json=event(_photograph("blue"), "blue")).raise_for_status()
    assert backend.get(f"{path}/calibration").json()["goal"] == {"kind": "recall", "value": 0.9}


@pytest.mark.parametrize(
    "other",
    [
        event("", "r", action="ANNOTATION_DELETED") | {"annotation": None},
        event(_photograph(), "r", cancelled=True),
        {"action": "PROJECT_UPDATED"},
    ],
)
def test_other_webhook_events_are_ignored(backend: httpx.Client, other: dict[str, Any]) -> None:
    answer = backend.post(f"{BACKEND}/webhook", json=other)
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")


def test_example_is_stored_after_the_webhook_client_disconnects(
    backend: httpx.Client, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    calibrate = Calibrating.calibrate

    async def slowly(*arguments: Any, **options: Any) -> Any:
        begun.set()
        await to_thread.run_sync(go_on.wait, LONG)
        return await calibrate(*arguments, **options)

    monkeypatch.setattr(Calibrating, "calibrate", slowly)
    there = http.client.HTTPConnection(backend.base_url.host, backend.base_url.port)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    there.request("POST", f"{BACKEND}/webhook", json.dumps(event(_photograph(), "r")), headers)
    assert begun.wait(LONG)
    there.close()
    # So that the service has noticed it.
    time.sleep(0.2)
    go_on.set()
    wait_until(lambda: backend.get("/v1/vocabularies/colours/calibration").status_code == 200)


def test_api_key_is_accepted_as_basic_auth_password(backend: httpx.Client, key: str) -> None:
    for password, status in ((key, 200), ("sigrl_wrong", 401)):
        answer = httpx.get(f"{backend.base_url}{BACKEND}/health", auth=("any", password))
        assert answer.status_code == status


class _LabelStudio(BaseHTTPRequestHandler):
    """Gives an uploaded file to whoever has the token, one of them after a redirect."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Token secret":
            self.send_response(401)
        elif self.path == "/tasks/1/presign/":
            self.send_response(303)
            self.send_header("Location", "/data/upload/1/photo.jpg")
        elif self.path == "/tasks/2/presign/":
            self.send_response(303)
            self.send_header("Location", "http://storage.internal/photo.jpg")
        else:
            self.send_response(200)
        self.end_headers()
        if self.path.startswith("/data/"):
            self.wfile.write(_file())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def label_studio() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _LabelStudio) as there:
        threading.Thread(target=there.serve_forever).start()
        yield f"http://127.0.0.1:{there.server_port}"
        there.shutdown()


def test_images_are_fetched_from_label_studio_with_its_key(label_studio: str) -> None:
    settings = Settings(label_studio_url=label_studio, label_studio_key="secret")
    with serving(create_app(settings, Tagger(engine=FakeEngine()))) as client:
        client.put("/v1/vocabularies/colours", json=["red", "green", "blue"]).raise_for_status()
        for address in ("/data/upload/1/photo.jpg", f"{label_studio}/tasks/1/presign/"):
            answer = client.post(f"{BACKEND}/predict", json=predict(address))
            assert answer.json()["results"][0]["result"][0]["value"] == {"choices": ["r"]}, answer.text
        elsewhere = client.post(f"{BACKEND}/predict", json=predict("/tasks/2/presign/"))
        assert (elsewhere.status_code, elsewhere.json()["type"]) == (403, "urn:sigrl:problem:url-input-off")
    with serving(create_app(Settings(), Tagger(engine=FakeEngine()))) as client:
        client.put("/v1/vocabularies/colours", json=["red", "green", "blue"]).raise_for_status()
        unknown = client.post(f"{BACKEND}/predict", json=predict("/data/upload/1/photo.jpg"))
        assert "SIGRL_LABEL_STUDIO_URL" in unknown.json()["hint"]
