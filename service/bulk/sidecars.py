"""Writes tags to a file beside each photograph, where other programs can read them. What other programs wrote
to that file stays."""

import json
import os
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sigrl.service.errors import SidecarError

_US = "sigrl-tagger"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_META = "adobe:ns:meta/"
_OURS = "urn:sigrl:xmp:1"
_PREFIXES = {"x": _META, "rdf": _RDF, "dc": _DC, "sigrl": _OURS}
_MAX_BYTES = 16 * 1024 * 1024
for _prefix, _uri in _PREFIXES.items():
    ElementTree.register_namespace(_prefix, _uri)
_EMPTY = (
    f'<x:xmpmeta xmlns:x="{_META}"><rdf:RDF xmlns:rdf="{_RDF}"><rdf:Description rdf:about=""/>'
    "</rdf:RDF></x:xmpmeta>"
)


def write_sidecar(kind: str, photograph: Path, content: str) -> None:
    """Writes a photograph's tags, given as JSON, to its `xmp` or `json` sidecar. Raises SidecarError if that
    fails; the sidecar is then unchanged."""
    {"xmp": _write_xmp, "json": _write_json}[kind](photograph, content)


def _write_json(photograph: Path, content: str) -> None:
    path = photograph.with_name(photograph.name + ".json")
    if (present := _read(path)) is not None:
        try:
            known: Any = json.loads(present)
        except (ValueError, RecursionError):
            known = None
        if not isinstance(known, dict) or known.get("software") != _US:
            raise SidecarError(f"'{path.name}' is of another program", "move it away, or use --sidecar xmp")
    _replace(path, json.dumps({"software": _US, **json.loads(content)}, indent=1).encode() + b"\n")


def _write_xmp(photograph: Path, content: str) -> None:
    """Writes the labels that apply as keywords (dc:subject). Keywords of other programs stay. The file
    records which keywords are ours, so that they are removed when they no longer apply."""
    path = photograph.with_name(photograph.name + ".xmp")
    root = _parse(path, _read(path) or _EMPTY.encode())
    description = root.find(f".//{{{_RDF}}}RDF/{{{_RDF}}}Description")
    if description is None:
        raise SidecarError(f"'{path.name}' is no XMP that can be added to", "move it away")
    labels = [tag["label"] for tag in json.loads(content)["tags"] if tag["accepted"]]
    # A packet may have several descriptions, and any of them may have the keywords.
    subjects = [_Bag(each, f"{{{_DC}}}subject") for each in root.iter(f"{{{_RDF}}}Description")]
    keywords = next((bag for bag in subjects if bag.items()), subjects[0])
    ours = _Bag(description, f"{{{_OURS}}}keywords")
    before = ours.items()
    others = [word for word in keywords.items() if word not in before]
    added = [label for label in labels if label not in others]
    keywords.put([*others, *added])
    ours.put(added)
    _replace(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


class _Bag:
    """An rdf:Bag of strings in a description."""

    def __init__(self, description: ElementTree.Element, name: str) -> None:
        self._description, self._name = description, name

    def items(self) -> list[str]:
        found = self._description.find(self._name)
        return [] if found is None else [each.text or "" for each in found.iter(f"{{{_RDF}}}li")]

    def put(self, items: Sequence[str]) -> None:
        found = self._description.find(self._name)
        if found is None:
            if not items:
                return
            found = ElementTree.SubElement(self._description, self._name)
        bag = found[0] if len(found) else ElementTree.SubElement(found, f"{{{_RDF}}}Bag")
        for each in list(bag):
            if (each.text or "") not in items:
                bag.remove(each)
        for item in items:
            if item not in [each.text or "" for each in bag]:
                ElementTree.SubElement(bag, f"{{{_RDF}}}li").text = item


def _parse(path: Path, content: bytes) -> ElementTree.Element:
    # XMP never has a document type declaration, and entity-expansion attacks need one.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise SidecarError(f"'{path.name}' has a document type, which no XMP has", "move it away")
    if b"\0" in content:
        raise SidecarError(f"'{path.name}' is not UTF-8", "move it away")
    root: ElementTree.Element
    try:
        for event, found in ElementTree.iterparse(BytesIO(content), events=("start-ns", "end")):
            if event == "end":
                root = found
            elif found[0] and not re.fullmatch(r"ns\d+", found[0]):
                # Elements of other programs keep their prefixes when the file is written again.
                ElementTree.register_namespace(*found)
    except ElementTree.ParseError as error:
        raise SidecarError(f"'{path.name}' is no XMP: {error}", "move it away") from error
    return root


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SidecarError(
            f"'{path.name}' cannot be read: {error.strerror}", "check its permissions"
        ) from error
    if len(content) > _MAX_BYTES:
        raise SidecarError(f"'{path.name}' is larger than any sidecar of ours", "move it away")
    return content


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise SidecarError(
            f"'{path.name}' cannot be written: {error.strerror}", "check its folder"
        ) from error
