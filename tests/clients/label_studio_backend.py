"""Run by test_label_studio.py with label-studio-sdk: ADDRESS KEY BODIES, a file of JSON with the requests."""

import json
import sys
from pathlib import Path

import requests
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import PredictionValue

address, key, bodies = sys.argv[1:]
asked = json.loads(Path(bodies).read_text())
interface = LabelInterface(asked["predict"]["label_config"])


def send(path: str) -> dict:
    answer = requests.post(f"{address}/{path}", json=asked[path], auth=("any", key), timeout=60)
    answer.raise_for_status()
    return answer.json()


assert requests.get(f"{address}/health", auth=("any", key), timeout=60).json()["status"] == "UP"
version = send("setup")["model_version"]
results = send("predict")["results"]
assert len(results) == len(asked["predict"]["tasks"])
for result in results:
    prediction = PredictionValue(**result)
    assert prediction.model_version == version
    assert prediction.result
    assert interface.validate_prediction(result, return_errors=True) == []
assert send("webhook")["status"] == "calibrated"
