"""Hugging Face's own client, pointed at the service."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
import sample_images as samples
from fastapi.testclient import TestClient
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from sigrl import Tagger
from sigrl.service.app import create_app
from sigrl.service.settings import Settings

PATH = "/compat/huggingface"
PHOTOGRAPH = b64encode(samples.jpeg()).decode()


def _client(server: httpx.Client, key: str) -> InferenceClient:
    return InferenceClient(model=f"{server.base_url}".rstrip("/") + PATH, token=key)


def test_huggingface_client_gets_independent_scores(server: httpx.Client, key: str) -> None:
    found = _client(server, key).zero_shot_image_classification(
        samples.jpeg(), candidate_labels=["red", "green", "blue"]
    )
    assert [each.label for each in found][-1] == "green"
    scores = {each.label: each.score for each in found}
    assert scores["red"] > 0.5
    assert scores["blue"] > 0.5
    ours = server.post(
        "/v1/tag", files=[("image", samples.jpeg())], data={"labels": "red,green,blue", "top_k": 3}
    )
    tags = ours.json()["images"][0]["tags"]
    assert scores == {tag["label"]: tag["probability"] for tag in tags}


def test_huggingface_client_raises_service_errors(server: httpx.Client, key: str) -> None:
    with pytest.raises(HfHubHTTPError, match="format is not known") as caught:
        _client(server, key).zero_shot_image_classification(
            b"not a photograph", candidate_labels=["red", "blue"]
        )
    assert caught.value.response.status_code == 415
    with pytest.raises(HfHubHTTPError, match="401"):
        _client(server, "sigrl_wrong").zero_shot_image_classification(
            samples.jpeg(), candidate_labels=["red", "blue"]
        )


def test_candidate_labels_may_be_a_single_string(server: httpx.Client) -> None:
    answer = server.post(PATH, json={"inputs": PHOTOGRAPH, "parameters": {"candidate_labels": "red, blue"}})
    assert answer.status_code == 200, answer.text
    assert {each["label"] for each in answer.json()} == {"red", "blue"}


def test_hypothesis_template_replaces_the_checkpoint_prompts(tiny_bundle: Path) -> None:
    scores = []
    with TestClient(create_app(Settings(), Tagger(tiny_bundle))) as client:
        for template in (None, "a blue dog and a {}"):
            parameters = {"candidate_labels": ["cat", "dog"], "hypothesis_template": template}
            answer = client.post(PATH, json={"inputs": PHOTOGRAPH, "parameters": parameters})
            assert answer.status_code == 200, answer.text
            scores.append({each["label"]: each["score"] for each in answer.json()})
    assert scores[0].keys() == scores[1].keys() == {"cat", "dog"}
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": PHOTOGRAPH},
        {"inputs": PHOTOGRAPH, "parameters": {"candidate_labels": []}},
        {"inputs": PHOTOGRAPH, "parameters": {"candidate_labels": ["dog", "Dog"]}},
        {"inputs": PHOTOGRAPH, "parameters": {"candidate_labels": ["dog"], "hypothesis_template": "a dog"}},
        {"inputs": "%", "parameters": {"candidate_labels": ["dog"]}},
    ],
)
def test_invalid_requests_are_reported(server: httpx.Client, body: dict[str, Any]) -> None:
    answer = server.post(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, 422)
    assert answer.json()["hint"] in answer.json()["error"]
