"""The two forms in which people write labels, and messages with the line for everything else."""

import json
from pathlib import Path

import pytest

from sigrl.model.labelled_files import LabelledFileError, read_label_file


@pytest.fixture
def write(tmp_path: Path):
    def call(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return call


def test_csv_and_jsonl_files_give_the_same_rows(write) -> None:
    table = write("labels.csv", 'image,positive,negative\nbeach/1.jpg,dog; wet sand ,cat\n"a, b.jpg",,dog\n')
    lines = [
        {"image": "beach/1.jpg", "positive": ["dog", "wet sand"], "negative": ["cat"]},
        {"image": "a, b.jpg", "negative": ["dog"]},
    ]
    objects = write("labels.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    said = [
        [(row.image, row.positive, row.negative) for row in read_label_file(path)]
        for path in (table, objects)
    ]
    assert said[0] == said[1] == [
        ("beach/1.jpg", ("dog", "wet sand"), ("cat",)),
        ("a, b.jpg", (), ("dog",)),
    ]  # fmt: skip


def test_csv_written_by_spreadsheets_is_read(write) -> None:
    path = write(
        "labels.CSV",
        b"\xef\xbb\xbfPositive, Image\r\ncaf\xc3\xa9;dog,.\\beach\\1.jpg\r\n\r\n,2.jpg\r\n,,\r\n",
    )
    with pytest.raises(LabelledFileError, match=r"labels\.CSV:5 has 3 cells, not 2: put semicolons"):
        read_label_file(path)
    path.write_bytes(path.read_bytes().removesuffix(b",,\r\n") + b",\r\n")
    rows = read_label_file(path)
    assert [(row.image, row.positive) for row in rows] == [("beach/1.jpg", ("café", "dog")), ("2.jpg", ())]
    assert rows[1].where == f"{path}:4"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", r"a\.csv begins with '': begin it with the line `image,positive,negative`"),
        ("a.csv", "image;positive;negative\n", "begins with 'image;positive;negative'"),
        ("a.csv", "image,postive\n", "begins with 'image,postive'"),
        ("a.csv", "positive\n", "begins with 'positive'"),
        ("a.csv", "image,image\n", "begins with 'image,image'"),
        ("a.csv", "image,positive\n", "names no photograph: write one per line"),
        ("a.csv", "image,positive\n,dog\n", r"a\.csv:2 names no photograph: write its file name"),
        ("a.csv", 'image,positive\na.jpg,"dog\n', "is not CSV"),
        ("a.csv", b"image\ncaf\xe9.jpg\n", "is not UTF-8 text"),
        ("a.jsonl", "\n", "names no photograph"),
        ("a.jsonl", '{"image": "a.jpg"}\n{', r"a\.jsonl:2 is not JSON"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1 is not JSON"),
        ("a.jsonl", '["a.jpg"]', r"a\.jsonl:1 is not an object with only `image`"),
        ("a.jsonl", '{"image": 3}', "is not an object with only `image`"),
        ("a.jsonl", '{"image": "a.jpg", "labels": []}', "is not an object with only `image`"),
        ("a.jsonl", '{"image": " "}', "names no photograph"),
        ("a.jsonl", '{"image": "a.jpg", "positive": "dog"}', "has labels that are not a list of texts"),
        ("a.jsonl", '{"image": "a.jpg", "negative": [3]}', "has labels that are not a list of texts"),
        ("a.xlsx", b"PK", r"a\.xlsx is neither \.csv nor \.jsonl"),
    ],
)
def test_malformed_label_file_is_reported_with_the_line(
    write, name: str, text: str | bytes, message: str
) -> None:
    with pytest.raises(LabelledFileError, match=message):
        read_label_file(write(name, text))


def test_unicode_line_separator_does_not_end_a_jsonl_line(write) -> None:
    path = write("a.jsonl", '{"image": "a\u2028b.jpg"}\r\n{"image": "c.jpg"}\r\n')
    assert [row.image for row in read_label_file(path)] == ["a\u2028b.jpg", "c.jpg"]


def test_missing_label_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LabelledFileError, match=r"labels\.csv is not there"):
        read_label_file(tmp_path / "labels.csv")


def test_csv_with_semicolon_delimiter_is_read(write) -> None:
    path = write("a.csv", "image;positive;negative\r\n1.jpg;dog|wet sand;cat\r\n2.jpg;;dog\r\n")
    rows = read_label_file(path)
    assert [(row.image, row.positive, row.negative) for row in rows] == [
        ("1.jpg", ("dog", "wet sand"), ("cat",)),
        ("2.jpg", (), ("dog",)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('image,positive\na.jpg,"fish,fish"\n', r"a\.csv:2 has ',' in 'fish,fish': put ';' between labels"),
        ("image,positive\na.jpg,dog|outdoor\n", r"a\.csv:2 has '\|' in 'dog\|outdoor': put ';' between"),
        ('image;positive\na.jpg;"dog;cat"\n', r"a\.csv:2 has ';' in 'dog;cat': put '\|' between labels"),
        ("image;positive\na.jpg;dog;cat\n", r"a\.csv:2 has 3 cells, not 2: put \| between labels"),
    ],
)
def test_wrong_separator_between_labels_is_rejected(write, text: str, message: str) -> None:
    with pytest.raises(LabelledFileError, match=message):
        read_label_file(write("a.csv", text))
