"""Every route of the API over a real socket, with a real engine and keys: none is left out."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import sample_images as samples
from two_checkpoints import load, save_other_bundle, serving, wait_until

from sigrl.model.manifest import Description
from sigrl.service.app import create_app
from sigrl.service.database.database import Database
from sigrl.service.keys.key import KeyScope
from sigrl.service.keys.store import KeyStore
from sigrl.service.settings import Settings

FILES = [("image", ("photo.jpg", samples.jpeg()))]
PETS = "/v1/vocabularies/pets"


class Walk:
    """A client that notes which routes it has asked."""

    def __init__(self, client: httpx.Client, document: dict[str, Any]) -> None:
        self.client = client
        self.left = {
            (method.upper(), path)
            for path, methods in document["paths"].items()
            for method in methods
            if path.startswith("/v1/")
        }

    def __call__(self, method: str, route: str, status: int = 200, name: str = "", **request: Any) -> Any:
        parts = [name if part.startswith("{") else part for part in route.split("/")]
        answer = self.client.request(method, "/".join(parts), **request)
        assert answer.status_code == status, answer.text
        self.left.remove((method, route))
        is_json = answer.content and answer.headers.get("content-type") == "application/json"
        return answer.json() if is_json else answer.content


def test_every_route_responds(
    tmp_path: Path, tiny_bundle: Path, tiny_description: Description, tokenizer_definition: bytes
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_bundle, store / "one")
    save_other_bundle(store / "two", tiny_description, tokenizer_definition)
    settings = Settings(
        checkpoint=store / "one",
        checkpoints=store,
        keys="required",
        feedback_bytes=1 << 20,
        recent_photographs=10,
    )
    app = create_app(settings)
    _, key = KeyStore(Database.open(settings)).create("walk", KeyScope.ADMIN)
    with serving(app) as client:
        assert client.get(PETS).status_code == 401
        client.headers["Authorization"] = f"Bearer {key}"
        ask = Walk(client, app.openapi())
        one = "/v1/vocabularies/{name}"
        ask("PUT", one, 201, "pets", json=["dog", "cat"])
        assert ask("GET", one, name="pets")["labels"] == [{"name": "dog"}, {"name": "cat"}]
        assert len(ask("GET", f"{one}/versions", name="pets")["versions"]) == 1
        assert "pets" in [each["name"] for each in ask("GET", "/v1/vocabularies")["vocabularies"]]
        tags = ask("POST", "/v1/tag", files=FILES, data={"vocabulary": "pets", "top_k": "2"})
        assert len(tags["images"][0]["tags"]) == 2
        assert ask("POST", "/v1/explain", files=FILES, data={"labels": "dog"})["tags"][0]["grid"]
        assert ask("POST", "/v1/embeddings", files=FILES)["images"][0]["embedding"]
        assert ask("POST", f"{one}/dry-run", name="pets", json=["dog"])["photographs"] == 1
        assert "never" in ask("GET", f"{one}/hygiene", name="pets")
        (weighed,) = ask("POST", f"{one}/candidates", name="pets", files=FILES)["images"]
        candidates = {"embeddings": [weighed["embedding"]], "doubts": [weighed["doubt"]]}
        assert ask("POST", f"{one}/suggest", name="pets", json=candidates) == {"suggested": [0]}
        assert ask("POST", "/v1/preview", files=FILES).startswith(b"\xff\xd8")
        examples = {"examples": json.dumps([{"positive": ["dog"], "negative": "others"}])}
        made = ask("POST", f"{one}/calibrate", name="pets", files=FILES, data=examples)
        assert ask("GET", f"{one}/calibration", name="pets") == made
        ask("DELETE", f"{one}/calibration", 204, "pets")

        said = ask("POST", "/v1/feedback", files=FILES, data={"right": "dog", "wrong": "cat"})
        assert ask("GET", "/v1/feedback")["photographs"] == 1
        assert ask("GET", "/v1/feedback/export").startswith(b"PK")
        ask("DELETE", "/v1/feedback/photographs/{photograph}", 204, said["photograph"])

        first = ask("GET", "/v1/checkpoints")["active"]
        ask("POST", "/v1/checkpoints/load", 202, json={"bundle": "two"})
        second = load(client, "two")
        checkpoint = "/v1/checkpoints/{checkpoint_id}"
        assert ask("GET", checkpoint, name=second)["state"] == "ready"
        assert ask("POST", f"{checkpoint}/shadow", name=second, json={"share": 1})["state"] == "shadow"
        assert ask("GET", f"{checkpoint}/drift", name=second)["checkpoint"] == second
        assert ask("POST", f"{checkpoint}/activate", name=second)["state"] == "active"
        assert ask("POST", "/v1/checkpoints/rollback")["id"] == first
        ask("POST", f"{checkpoint}/unload", name=second)
        wait_until(lambda: client.get(f"/v1/checkpoints/{second}").json()["state"] == "retired")
        ask("DELETE", one, 204, "pets")
        assert ask.left == set()
