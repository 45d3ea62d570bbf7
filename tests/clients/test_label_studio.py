"""Label Studio's SDK validates what the ML backend answers."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import httpx
import sample_images as samples
from label_studio_bodies import event, predict, setup

SCRIPT = Path(__file__).parent / "label_studio_backend.py"


def test_label_studio_sdk_accepts_the_predictions(
    server: httpx.Client, key: str, clients: Path, run: Callable[..., str], tmp_path: Path
) -> None:
    labels = [{"name": name, "threshold": 0} for name in ("red", "green", "blue")]
    server.put("/v1/vocabularies/colours", json=labels).raise_for_status()
    photograph = "data:image/jpeg;base64," + b64encode(samples.jpeg()).decode()
    bodies = {"setup": setup(), "predict": predict(photograph, photograph), "webhook": event(photograph, "r")}
    (tmp_path / "bodies.json").write_text(json.dumps(bodies))
    backend = f"{server.base_url}/compat/label-studio/colours"
    run(clients / "venv" / "bin" / "python", SCRIPT, backend, key, tmp_path / "bodies.json")
