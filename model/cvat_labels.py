"""Reads the tags of an export from CVAT in its format "CVAT for images 1.1". Imports without torch.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from collections.abc import Iterator
from xml.etree import ElementTree


class CvatError(ValueError):
    """The text is not such an export; the message says what to do."""


def read_cvat(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields (path of the photograph, labels it is tagged with, labels it is not tagged with). Photographs
    without any tag are left out, because nobody may have looked at them. Raises CvatError."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        # Entities can expand to any size.
        raise CvatError("declares a document type: remove it")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise CvatError(f"is not XML ({error}): export the task again") from error
    labels = [name.text or "" for name in root.iterfind("meta//labels/label/name")]
    if root.tag != "annotations" or not labels:
        raise CvatError('has no labels of a task: export it from CVAT as "CVAT for images 1.1"')
    for image in root.iterfind("image"):
        tags = [tag.get("label", "") for tag in image.iterfind("tag")]
        if tags:
            yield image.get("name", ""), tags, [label for label in labels if label not in tags]
