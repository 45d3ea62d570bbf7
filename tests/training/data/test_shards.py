"""WebDataset shards: addressed like folders; damaged ones are reported and pickled members ignored."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sigrl.model.config import Preprocessing
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.check import check
from sigrl.training.data.dataset import DataError, Problem
from sigrl.training.data.shards import expand_braces, read_shards


def encoded(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def said(*positive: str, negative: tuple[str, ...] = (), **others: object) -> bytes:
    return json.dumps({"positive": positive, "negative": negative, **others}).encode()


def write(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    first = {
        "beach/1.png": encoded("red"),
        "beach/1.json": said("dog", negative=("cat",), width=40),
        "beach/1.pyd": b"cos\nsystem\n(S'exit'\ntR.",
        "2.png": encoded("green"),
        "2.txt": b"cat; puppy",
    }
    second = {"3.cls": b"1\n", "3.png": encoded("blue"), "4.seg.png": encoded("white"), "4.json": said()}
    return [write(tmp_path / "a-000.tar", first), write(tmp_path / "a-001.tar", second)]


VOCABULARY = Vocabulary(labels=(Label(name="dog", synonyms=("puppy",)), Label(name="cat")))


def test_labels_are_read_from_members_with_the_same_key(shards: list[Path]) -> None:
    photographs = read_shards(shards, VOCABULARY)
    assert photographs.ids == (
        "a-000.tar/beach/1.png",
        "a-000.tar/2.png",
        "a-001.tar/3.png",
        "a-001.tar/4.seg.png",
    )
    assert photographs.image_paths[0] == shards[0] / "beach" / "1.png"
    np.testing.assert_array_equal(photographs.labels, [[1, -1], [1, 1], [0, 1], [0, 0]])


def test_shard_images_can_be_read_in_any_order(shards: list[Path]) -> None:
    paths = read_shards(shards, VOCABULARY).image_paths
    preprocessing = Preprocessing(image_size=16, mean=(0, 0, 0), std=(1, 1, 1))
    for path, colour in [(paths[2], (0, 0, 1)), (paths[0], (1, 0, 0)), (paths[2], (0, 0, 1))]:
        np.testing.assert_allclose(read_photograph(path, preprocessing)[:, 5, 5], colour, atol=0.01)


def test_check_finds_damaged_and_missing_members(tmp_path: Path) -> None:
    members = {
        "1.png": encoded("red")[:60],
        "1.json": said("dog"),
        "2.png": encoded("red"),
        "2.json": said("cat"),
    }
    photographs = read_shards([write(tmp_path / "b.tar", members)])
    (problem,) = check(photographs).problems
    assert problem.kind == "unreadable file"
    assert problem.message.startswith(f"{tmp_path / 'b.tar' / '1.png'} cannot be decoded")
    with pytest.raises(DataError, match=r"b\.tar/3\.png cannot be read"):
        read_photograph(tmp_path / "b.tar" / "3.png", Preprocessing())


@pytest.mark.parametrize("cut", [300, 700, 1500, 5000])
def test_truncated_shard_is_reported_with_advice(shards: list[Path], cut: int) -> None:
    shards[0].write_bytes(shards[0].read_bytes()[:cut])
    with pytest.raises(DataError, match=r"a-000\.tar .*: .*download it again"):
        read_shards(shards, VOCABULARY)


def test_compressed_or_missing_tar_is_rejected(shards: list[Path], tmp_path: Path) -> None:
    packed = write(tmp_path / "packed.tar", {"1.png": encoded("red"), "1.json": said("dog")}, "w:gz")
    with pytest.raises(DataError, match=r"packed\.tar is not a readable uncompressed tar"):
        read_shards([packed])
    with pytest.raises(DataError, match=r"a-002\.tar does not exist: complete the shards"):
        read_shards([*shards, tmp_path / "a-002.tar"], VOCABULARY)


def test_rewritten_shard_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "c.tar", {"1.png": encoded("red"), "1.json": said("dog")})
    assert len(read_shards([path])) == 1
    write(path, {"1.png": encoded("red"), "1.json": said("dog"), "2.png": encoded("red"), "2.txt": b"cat"})
    assert len(read_shards([path])) == 2


def test_image_without_labels_is_an_error_or_skipped(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.tar", {"1.png": encoded("red"), "2.png": encoded("red"), "2.json": said("dog")}
    )
    with pytest.raises(DataError, match=r"d\.tar/1\.png has no 1\.json: add it"):
        read_shards([path])
    problems: list[Problem] = []
    assert read_shards([path], on_problem=problems.append).ids == ("d.tar/2.png",)
    assert [problem.kind for problem in problems] == ["missing labels"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("1.json", b"{", r"1\.json is not a UTF-8 json"),
        ("1.json", b"[]", r"1\.json has no labels"),
        ("1.json", b'{"positives": ["dog"]}', r"1\.json has no labels"),
        ("1.json", b'{"positive": "dog"}', r"1\.json has labels that are not a list"),
        ("1.cls", b"7", r"1\.cls contains the number 7: list the labels"),
        ("1.txt", b"\xff", r"1\.txt is not a UTF-8 txt"),
    ],
)
def test_invalid_labels_are_reported(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path / "e.tar", {"1.png": encoded("red"), name: content})
    with pytest.raises(DataError, match=message):
        read_shards([path], VOCABULARY)


def test_expand_braces_handles_ranges_and_choices() -> None:
    assert expand_braces("d/x-{008..010}.tar") == tuple(Path(f"d/x-{n}.tar") for n in ("008", "009", "010"))
    assert expand_braces("{a,b}-{0..1}.tar") == tuple(Path(f"{n}.tar") for n in ("a-0", "a-1", "b-0", "b-1"))
    assert expand_braces("one.tar") == (Path("one.tar"),)
    with pytest.raises(DataError, match="counts backwards"):
        expand_braces("x-{3..1}.tar")
