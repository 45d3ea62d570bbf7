import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sample_images as samples
from fake_engine import FakeEngine

from sigrl.service.bulk.keyword_paths import keyword_paths
from sigrl.service.bulk.sidecars import write_sidecar
from sigrl.service.errors import SidecarError
from sigrl.service.vocabularies.builtin import builtin

PATHS = {"cat": ("animal", "cat"), "tabby": ("animal", "cat", "tabby")}
RDF, DC = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}", "{http://purl.org/dc/elements/1.1/}"
# As darktable and others write it: attributes, custom elements, a title and keywords.
FOREIGN = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:darktable="http://darktable.sf.net/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 darktable:history="3" xmp:Rating="4"/>
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">At home</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>grandma</rdf:li><rdf:li>cat</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>
"""


def _content(*labels: str, refused: str = "dog") -> str:
    tags = [{"label": label, "accepted": label != refused, "probability": 0.5} for label in labels]
    return json.dumps({"tags": tags, "checkpoint": "c"})


def _keywords(path: Path) -> list[str | None]:
    return [
        each.text for each in ElementTree.parse(path).getroot().findall(f".//{DC}subject/{RDF}Bag/{RDF}li")
    ]


@pytest.fixture
def xmp(photograph: Path) -> Path:
    return photograph.with_name("photo.jpg.xmp")


def test_xmp_keywords_are_the_accepted_labels(photograph: Path, xmp: Path) -> None:
    write_sidecar("xmp", photograph, _content("cat", "a < b & c", "dog"), PATHS)
    assert _keywords(xmp) == ["cat", "a < b & c"]
    write_sidecar("xmp", photograph, _content("sofa", "cat"), PATHS)
    assert sorted(map(str, _keywords(xmp))) == ["cat", "sofa"]
    write_sidecar("xmp", photograph, _content(), PATHS)
    assert _keywords(xmp) == []
    assert list(photograph.parent.glob("*.part")) == []


def test_existing_xmp_content_of_others_is_kept(photograph: Path, xmp: Path) -> None:
    xmp.write_text(FOREIGN)
    write_sidecar("xmp", photograph, _content("cat", "sofa"), PATHS)
    assert _keywords(xmp) == ["grandma", "cat", "sofa"]
    # New tags replace our old ones; "cat" was the user's keyword before it was also ours.
    write_sidecar("xmp", photograph, _content("lamp"), PATHS)
    assert _keywords(xmp) == ["grandma", "cat", "lamp"]
    text = xmp.read_text()
    for part in ('darktable:history="3"', 'xmp:Rating="4"', "At home", 'xml:lang="x-default"', "dc:title"):
        assert part in text


@pytest.mark.parametrize(
    "content",
    [
        b"no XMP at all",
        b"<html/>",
        FOREIGN.encode()[:300],
        FOREIGN.encode("utf-16"),
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + FOREIGN.partition("\n")[2].encode(),
    ],
)
def test_unusable_xmp_file_is_left_unchanged(photograph: Path, xmp: Path, content: bytes) -> None:
    xmp.write_bytes(content)
    with pytest.raises(SidecarError):
        write_sidecar("xmp", photograph, _content("cat"), PATHS)
    assert xmp.read_bytes() == content


def _exiftool(path: Path) -> dict[str, list[str]]:
    """The keywords as photo programs read them, by property."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed here")
    names = ("Subject", "HierarchicalSubject", "TagsList")
    printed = subprocess.run(
        ["exiftool", "-json", "-struct", "-validate", "-warning", *(f"-XMP:{name}" for name in names), path],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (found,) = json.loads(printed)
    assert "Warning" not in found
    return {name: [found[name]] if isinstance(found[name], str) else found[name] for name in names}


def test_xmp_hierarchy_is_readable_by_exiftool(photograph: Path, xmp: Path) -> None:
    write_sidecar("xmp", photograph, _content("tabby", "sofa"), PATHS)
    assert _exiftool(xmp) == {
        "Subject": ["tabby", "sofa"],
        "HierarchicalSubject": ["animal|cat|tabby", "sofa"],
        "TagsList": ["animal/cat/tabby", "sofa"],
    }
    write_sidecar("xmp", photograph, _content("cat"), PATHS)
    assert _exiftool(xmp) == {
        "Subject": ["cat"],
        "HierarchicalSubject": ["animal|cat"],
        "TagsList": ["animal/cat"],
    }


def test_exiftool_sidecar_keeps_its_packet_wrapper_and_hierarchy(photograph: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed here")
    path = photograph.with_name("photo.xmp")
    given = (
        "-XMP-dc:Subject=home",
        "-XMP-lr:HierarchicalSubject=places|home",
        "-XMP-digiKam:TagsList=places/home",
    )
    subprocess.run(["exiftool", "-q", *given, "-XMP:Rating=4", path], check=True)
    wrapper = path.read_text(encoding="utf-8").splitlines()[0]
    assert wrapper.startswith("<?xpacket begin=")
    write_sidecar("xmp-lightroom", photograph, _content("cat"), PATHS)
    assert path.read_text(encoding="utf-8").splitlines()[0] == wrapper
    assert path.read_text(encoding="utf-8").rstrip().endswith("<?xpacket end='w'?>")
    assert _exiftool(path) == {
        "Subject": ["home", "cat"],
        "HierarchicalSubject": ["places|home", "animal|cat"],
        "TagsList": ["places/home", "animal/cat"],
    }
    assert not photograph.with_name("photo.jpg.xmp").exists()


def test_keyword_paths_use_the_language_of_the_tags() -> None:
    german = keyword_paths(builtin("everyday"), "de")
    assert german["Golden Retriever"] == ("Tier", "Hund", "Retriever", "Golden Retriever")
    assert keyword_paths(builtin("everyday"), None)["sky"] == ("sky",)


def test_separator_in_a_label_does_not_create_a_level(photograph: Path, xmp: Path) -> None:
    write_sidecar("xmp", photograph, _content("black|white", "24/7"), {})
    assert "<rdf:li>black white</rdf:li>" in xmp.read_text()
    assert "<rdf:li>24 7</rdf:li>" in xmp.read_text()
    assert _keywords(xmp) == ["black|white", "24/7"]


def test_only_own_json_sidecars_are_overwritten(photograph: Path) -> None:
    path = photograph.with_name("photo.jpg.json")
    write_sidecar("json", photograph, _content("cat"), PATHS)
    write_sidecar("json", photograph, _content("sofa"), PATHS)
    assert [tag["label"] for tag in json.loads(path.read_text())["tags"]] == ["sofa"]
    for foreign in ('{"title": "photo.jpg"}', "[1]", "nonsense"):
        path.write_text(foreign)
        with pytest.raises(SidecarError, match="another program"):
            write_sidecar("json", photograph, _content("cat"), PATHS)
        assert path.read_text() == foreign


def test_bulk_run_can_add_sidecars_later(
    sigrl, photograph: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)
    second = photograph.with_name("second.jpg")
    second.write_bytes(samples.jpeg())
    foreign = photograph.with_name("second.jpg.json")
    foreign.write_text("{}")
    out = tmp_path / "tags.csv"
    command = ("tag", photograph, second, "--labels", "red,green,blue", "--out", out)
    assert sigrl(*command)[0] == 0
    seen = sum(engine.batches)
    assert sigrl(*command, "--sidecar", "xmp")[0] == 0
    assert sorted(map(str, _keywords(photograph.with_name("photo.jpg.xmp")))) == ["blue", "red"]
    status, told, _ = sigrl(*command, "--sidecar", "json")
    assert (status, told) == (1, f"{out}: 2 photographs, 1 failed: see {tmp_path}/tags.errors.csv\n")
    assert foreign.read_text() == "{}"
    assert "sidecar-refused" in (tmp_path / "tags.errors.csv").read_text()
    assert "red" in photograph.with_name("photo.jpg.json").read_text()
    assert sum(engine.batches) == seen
