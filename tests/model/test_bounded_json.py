"""Documents that would cost far more than their bytes are refused before they are parsed."""

import json

import pytest

from sigrl.model.bounded_json import MAX_SEPARATORS, loads
from sigrl.model.vocabulary import MAX_LABELS, Vocabulary, VocabularyError


@pytest.mark.parametrize(
    "text",
    [
        "[" + "0," * MAX_SEPARATORS + "0]",
        "[" + "[],[" * MAX_SEPARATORS,
        "{" + ",".join(f'"{n}":0' for n in range(MAX_SEPARATORS // 2 + 1)) + "}",
        '["' + "\\/" * 5_000_000 + '"]',
        "[" * 100_000,
    ],
)
def test_too_many_or_too_deeply_nested_values_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"more than|too deeply"):
        loads(text)


@pytest.mark.parametrize("text", ['{"name": "a", "name": "b"}', '[{"x": [{"name": 1, "y": 2, "name": 1}]}]'])
def test_a_field_that_is_there_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="`name` twice"):
        loads(text)


def test_vocabulary_of_maximum_size_is_accepted() -> None:
    labels = [
        {"name": f"label {n}", "synonyms": [f"s{n} {k}" for k in range(8)], "translations": {"de": f"d{n}"}}
        for n in range(MAX_LABELS)
    ]
    assert len(Vocabulary.from_json(json.dumps(labels)).labels) == MAX_LABELS


def test_long_string_is_accepted() -> None:
    assert len(loads('["' + "a" * (20 << 20) + '"]')[0]) == 20 << 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"labels": ["cat"]} | {f"x{n}": 0 for n in range(50_000)}, "no field `x0`"),
        ([{"name": "cat"} | {f"x{n}": 0 for n in range(50_000)}], "no field `x0`"),
        ([{"name": "cat", "translations": {f"de-{n:05}": "Katze" for n in range(50_000)}}], "translations"),
        (["a\u0301\u0316" * 50_000], "200"),
    ],
)
def test_many_errors_are_reported_as_one(content: object, said: str) -> None:
    with pytest.raises(VocabularyError, match=said):
        Vocabulary.from_json(json.dumps(content))
