"""Puts keywords into an XMP packet, as photo programs keep them. What other programs wrote stays."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from xml.etree import ElementTree

from sigrl.service.bulk.keyword_paths import KeywordPaths
from sigrl.service.errors import SidecarError

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
_DIGIKAM = "http://www.digikam.org/ns/1.0/"
_META = "adobe:ns:meta/"
_OURS = "urn:sigrl:xmp:1"
_PREFIXES = {"x": _META, "rdf": _RDF, "dc": _DC, "lr": _LIGHTROOM, "digiKam": _DIGIKAM, "sigrl": _OURS}
for _prefix, _uri in _PREFIXES.items():
    ElementTree.register_namespace(_prefix, _uri)
_EMPTY = (
    f'<x:xmpmeta xmlns:x="{_META}"><rdf:RDF xmlns:rdf="{_RDF}"><rdf:Description rdf:about=""/>'
    "</rdf:RDF></x:xmpmeta>"
)
# The wrapper by which programs find a packet, as XMP Specification Part 1, 7.3 has it.
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_END = '<?xpacket end="w"?>'
_WRAPPER = re.compile(rb"<\?xpacket (begin|end)=[^>]*\?>")


@dataclass(frozen=True)
class _Property:
    """A list of texts in a description."""

    name: str
    container: str = "Bag"
    """`Bag` has no order, `Seq` has one."""


_SUBJECT = _Property(f"{{{_DC}}}subject")
_HIERARCHY = _Property(f"{{{_LIGHTROOM}}}hierarchicalSubject")
_TAGS = _Property(f"{{{_DIGIKAM}}}TagsList", "Seq")
# What we wrote of these, so that it is removed when it no longer applies.
_OUR_KEYWORDS = _Property(f"{{{_OURS}}}keywords")
_OUR_HIERARCHY = _Property(f"{{{_OURS}}}hierarchicalSubject")
_OUR_TAGS = _Property(f"{{{_OURS}}}TagsList")


def with_keywords(name: str, packet: bytes | None, labels: Sequence[str], paths: KeywordPaths) -> bytes:
    """The packet with the labels in `dc:subject`, and with their paths in `lr:hierarchicalSubject` and
    `digiKam:TagsList`; a new one if there is none. Our earlier keywords are removed, all others stay.

    `name` is the file's name for errors. Raises SidecarError if it is not an XMP packet.
    """
    root = _parse(name, packet or _EMPTY.encode())
    description = root.find(f".//{{{_RDF}}}RDF/{{{_RDF}}}Description")
    if description is None:
        raise SidecarError(f"'{name}' is XMP that cannot be extended", "move it away")
    ways = [paths.get(label, (label,)) for label in labels]
    for shown, ours, items in (
        (_SUBJECT, _OUR_KEYWORDS, list(labels)),
        (_HIERARCHY, _OUR_HIERARCHY, [_joined(way, "|") for way in ways]),
        (_TAGS, _OUR_TAGS, [_joined(way, "/") for way in ways]),
    ):
        _replace_ours(root, _List(description, ours), shown, items)
    return _wrapped(packet, ElementTree.tostring(root, encoding="utf-8"))


def _joined(way: Sequence[str], separator: str) -> str:
    return separator.join(label.replace(separator, " ") for label in way)


def _replace_ours(root: ElementTree.Element, ours: "_List", shown: _Property, items: Sequence[str]) -> None:
    # A packet may have several descriptions, and any of them may have the property.
    lists = [_List(each, shown) for each in root.iter(f"{{{_RDF}}}Description")]
    present = next((each for each in lists if each.items()), lists[0])
    before = ours.items()
    others = [item for item in present.items() if item not in before]
    added = [item for item in items if item not in others]
    present.put([*others, *added])
    ours.put(added)


class _List:
    """The texts of a property."""

    def __init__(self, description: ElementTree.Element, of: _Property) -> None:
        self._description, self._property = description, of

    def items(self) -> list[str]:
        found = self._description.find(self._property.name)
        return [] if found is None else [each.text or "" for each in found.iter(f"{{{_RDF}}}li")]

    def put(self, items: Sequence[str]) -> None:
        found = self._description.find(self._property.name)
        if found is None:
            if not items:
                return
            found = ElementTree.SubElement(self._description, self._property.name)
        container = f"{{{_RDF}}}{self._property.container}"
        texts = found[0] if len(found) else ElementTree.SubElement(found, container)
        for each in list(texts):
            if (each.text or "") not in items:
                texts.remove(each)
        for item in items:
            if item not in [each.text or "" for each in texts]:
                ElementTree.SubElement(texts, f"{{{_RDF}}}li").text = item


def _wrapped(packet: bytes | None, body: bytes) -> bytes:
    """The body in the wrapper that the packet had; a packet without one gets an XML declaration."""
    if packet is None:
        return b"\n".join((_BEGIN.encode(), body, _END.encode(), b""))
    had = {found[1]: found[0] for found in _WRAPPER.finditer(packet)}
    if b"begin" not in had:
        return b'<?xml version="1.0" encoding="utf-8"?>\n' + body
    return b"\n".join((had[b"begin"], body, had.get(b"end", _END.encode()), b""))


def _parse(name: str, content: bytes) -> ElementTree.Element:
    # XMP never has a document type declaration, and entity-expansion attacks need one.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise SidecarError(f"'{name}' has a document type, which XMP does not allow", "move it away")
    if b"\0" in content:
        raise SidecarError(f"'{name}' is not UTF-8", "move it away")
    root: ElementTree.Element
    try:
        for event, found in ElementTree.iterparse(BytesIO(content), events=("start-ns", "end")):
            if event == "end":
                root = found
            elif found[0] and not re.fullmatch(r"ns\d+", found[0]):
                # Elements of other programs keep their prefixes when the file is written again.
                ElementTree.register_namespace(*found)
    except ElementTree.ParseError as error:
        raise SidecarError(f"'{name}' is not XMP: {error}", "move it away") from error
    return root
