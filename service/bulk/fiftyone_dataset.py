"""A bulk run as a dataset of FiftyOne, which `fiftyone.Dataset.from_json` opens.

Source: `fiftyone.core.dataset.Dataset.to_dict` and `from_dict` of FiftyOne 1.22.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sigrl.service.terminal import is_address, with_address

FIELD = "sigrl"
"""The field of a sample that has its tags."""
_SCHEMA = {
    "filepath": "fiftyone.core.fields.StringField",
    FIELD: "fiftyone.core.fields.EmbeddedDocumentField(fiftyone.core.labels.Classifications)",
}


def dataset_parts(name: str, rows: Iterable[tuple[Path, str]]) -> Iterator[str]:
    """The text of the dataset in parts, one per photograph, so that memory does not grow with it. `rows` are
    photographs, and their tags as JSON."""
    head = json.dumps({"name": name, "media_type": "image", "sample_fields": _SCHEMA})
    yield head[:-1] + ', "samples": ['
    separator = "\n"
    for photograph, content in rows:
        yield separator + json.dumps(_sample(photograph, json.loads(content)))
        separator = ",\n"
    yield "\n]}\n"


def _sample(photograph: Path, tagging: dict[str, Any]) -> dict[str, Any]:
    tags = [
        {
            "_cls": "Classification",
            "tags": [],
            "label": tag["label"],
            "confidence": tag["probability"],
            "threshold": tag["threshold"],
            "accepted": tag["accepted"],
        }
        for tag in tagging["tags"]
    ]
    found = {"_cls": "Classifications", "classifications": tags}
    # A file name may contain bytes that are not UTF-8, which FiftyOne's database does not accept.
    path = os.fsencode(
        with_address(photograph) if is_address(photograph) else os.path.abspath(photograph)
    ).decode(errors="replace")
    return {"filepath": path, "tags": [], FIELD: found}
