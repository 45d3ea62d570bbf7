"""What Label Studio sends, as in its ML backend's `api.py` and its webhook reference."""

from typing import Any

CONFIG = """
<View>
  <Image name="photo" value="$image"/>
  <Choices name="tags" toName="photo" choice="multiple">
    <Choice value="Red" alias="r"/>
    <Choice value="green"/>
    <Choice value="blue"/>
  </Choices>
</View>
"""


def setup(config: str = CONFIG) -> dict[str, Any]:
    return {
        "project": "1.1700000000",
        "schema": config,
        "hostname": "http://localhost:8080",
        "access_token": "secret",
        "extra_params": None,
    }


def predict(*images: str, config: str = CONFIG) -> dict[str, Any]:
    return {
        "tasks": [{"id": number, "data": {"image": image}} for number, image in enumerate(images, 1)],
        "model_version": "any",
        "project": "1.1700000000",
        "label_config": config,
        "params": {"login": None, "password": None, "context": None},
    }


def event(
    image: str, *choices: str, action: str = "ANNOTATION_CREATED", cancelled: bool = False
) -> dict[str, Any]:
    region = {
        "id": "yrSY-dipPI",
        "type": "choices",
        "value": {"choices": list(choices)},
        "origin": "manual",
        "to_name": "photo",
        "from_name": "tags",
    }
    annotation = {
        "id": 5,
        "result": [region] if choices else [],
        "was_cancelled": cancelled,
        "ground_truth": False,
        "lead_time": 5.4,
        "task": 1,
        "completed_by": {"id": 1},
    }
    return {
        "action": action,
        "annotation": annotation,
        "project": {"id": 1, "title": "Colours", "label_config": CONFIG, "created_by": {"id": 1}},
        "task": {"id": 1, "data": {"image": image}, "meta": {}, "is_labeled": True},
    }
