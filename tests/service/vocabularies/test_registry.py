import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from vocabulary_strategies import vocabularies

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.errors import (
    ParameterError,
    PreconditionError,
    ReadOnlyVocabularyError,
    StoreError,
    TaggerError,
    VocabularyNotFoundError,
)
from sigrl.service.settings import Settings
from sigrl.service.vocabularies import queries
from sigrl.service.vocabularies.builtin import BUILTIN, builtin
from sigrl.service.vocabularies.preconditions import Preconditions
from sigrl.service.vocabularies.registry import VocabularyRegistry

PETS = Vocabulary.from_names(["dog", "cat"], "pets")
MORE = Vocabulary.from_names(["dog", "cat", "hamster"])


@pytest.fixture
def registry(stored: Settings) -> Iterator[VocabularyRegistry]:
    opened = VocabularyRegistry.open(stored)
    yield opened
    opened.close()


def _break(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(Engine, "connect", fail)


def test_get_returns_the_stored_vocabulary_with_its_version(registry: VocabularyRegistry) -> None:
    entry, is_new = registry.put("pets", PETS)
    assert (entry.version, entry.size, entry.content_hash, is_new) == (1, 2, PETS.content_hash, True)
    again = registry.get("pets")
    assert (again.name, again.version, again.labels) == ("pets", 1, PETS.labels)
    assert registry.entry("pets") == entry


def test_only_a_change_creates_a_new_version(registry: VocabularyRegistry) -> None:
    registry.put("pets", PETS)
    first = registry.entry("pets")
    assert registry.put("pets", Vocabulary.from_names(["dog", "cat"], "other name")) == (first, False)
    second, is_new = registry.put("pets", MORE)
    assert (second.version, is_new) == (2, False)
    assert registry.put("pets", PETS)[0].version == 3
    assert registry.get("pets").labels == registry.get("pets", 1).labels == PETS.labels
    assert registry.get("pets", 2).labels == MORE.labels
    assert [entry.version for entry in registry.versions("pets")] == [3, 2, 1]
    assert registry.versions("pets", limit=2)[1] == registry.versions("pets", before=3, limit=1)[0] == second
    assert len({entry.etag for entry in registry.versions("pets")}) == 3


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vocabularies())
def test_any_vocabulary_round_trips_through_the_database(
    registry: VocabularyRegistry, stored: Settings, vocabulary: Vocabulary
) -> None:
    registry.put("any", vocabulary)
    reader = VocabularyRegistry.open(stored)
    again = reader.get("any")
    reader.close()
    assert (again.labels, again.goal) == (vocabulary.labels, vocabulary.goal)
    assert again.content_hash == vocabulary.content_hash


def test_changed_precision_creates_a_new_version(registry: VocabularyRegistry) -> None:
    assert registry.put("pets", PETS)[0].version == 1
    precise = Vocabulary(labels=PETS.labels, precision=0.8)
    entry, _ = registry.put("pets", precise)
    assert (entry.version, registry.put("pets", precise)[0].version) == (2, 2)
    assert (registry.get("pets").precision, registry.get("pets", 1).precision) == (0.8, None)
    assert PETS.content_hash != precise.content_hash
    assert PETS.texts_hash == precise.texts_hash


def test_changed_translation_creates_a_version_with_the_same_hash(registry: VocabularyRegistry) -> None:
    labels = [Label(name="dog", translations={"de": word}) for word in ("Hund", "Köter")]
    german = [Vocabulary(labels=(each,)) for each in labels]
    entries = [registry.put("dogs", each)[0] for each in (*german, german[1])]
    assert [entry.version for entry in entries] == [1, 2, 2]
    assert len({entry.content_hash for entry in entries}) == 1
    assert [registry.get("dogs", version).labels for version in (1, 2)] == [each.labels for each in german]


def test_versions_persist_after_restart(stored: Settings) -> None:
    for version in (1, 2):
        registry = VocabularyRegistry.open(stored)
        assert registry.put("pets", (PETS, MORE)[version - 1])[0].version == version
        registry.close()
    registry = VocabularyRegistry.open(stored)
    assert registry.get("pets").labels == MORE.labels
    assert registry.get("pets", 1).labels == PETS.labels
    registry.close()


@pytest.mark.parametrize("exists", [False, True])
def test_only_one_of_concurrent_conditional_writers_succeeds(
    registry: VocabularyRegistry, exists: bool
) -> None:
    if exists:
        registry.put("pets", PETS)
        seen = Preconditions(if_match=(registry.entry("pets").etag,))
    else:
        seen = Preconditions(if_none_match=("*",))
    ready = threading.Barrier(4)

    def write(number: int) -> bool:
        ready.wait(10)
        try:
            registry.put("pets", Vocabulary.from_names([f"writer {number}"]), seen)
        except PreconditionError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(write, range(4)))
    assert sum(won) == 1
    assert registry.get("pets").names == (f"writer {won.index(True)}",)
    assert len(registry.versions("pets")) == 1 + exists


def test_unconditional_concurrent_writers_each_create_a_version(registry: VocabularyRegistry) -> None:
    ready = threading.Barrier(4)

    def write(number: int) -> None:
        ready.wait(10)
        registry.put("pets", Vocabulary.from_names([f"writer {number}"]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    names = {registry.get("pets", version).names[0] for version in (1, 2, 3, 4)}
    assert names == {f"writer {number}" for number in range(4)}


def test_deleted_vocabulary_version_numbers_are_not_reused(registry: VocabularyRegistry) -> None:
    registry.put("pets", PETS)
    old = registry.entry("pets").etag
    registry.put("pets", MORE)
    with pytest.raises(PreconditionError, match="its ETag is now"):
        registry.delete("pets", Preconditions(if_match=(old,)))
    registry.delete("pets")
    gone = [
        lambda: registry.get("pets"),
        lambda: registry.get("pets", 1),
        lambda: registry.versions("pets"),
        lambda: registry.delete("pets"),
    ]
    for call in gone:
        with pytest.raises(VocabularyNotFoundError, match="pets"):
            call()
    assert [entry.name for entry in registry.entries()] == list(BUILTIN)
    assert registry.put("pets", PETS)[0].version == 3
    assert [entry.version for entry in registry.versions("pets")] == [3]


def test_built_in_vocabularies_are_read_only_and_listed_first(registry: VocabularyRegistry) -> None:
    assert registry.get("coco80") is builtin("coco80")
    assert registry.versions("coco80") == [registry.entry("coco80")]
    for change in (lambda: registry.put("coco80", PETS), lambda: registry.delete("coco80")):
        with pytest.raises(ReadOnlyVocabularyError, match="coco80"):
            change()
    with pytest.raises(VocabularyNotFoundError, match="coco80' in version 1"):
        registry.get("coco80", 1)
    for name in ("b", "a-1", "c"):
        registry.put(name, PETS)
    assert [entry.name for entry in registry.entries()] == [*BUILTIN, "a-1", "b", "c"]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_of_any_length_list_every_name_once(registry: VocabularyRegistry, limit: int) -> None:
    for name in ("b", "a-1", "c"):
        registry.put(name, PETS)
    names, after = [], ""
    while page := registry.entries(after, limit):
        assert len(page) <= limit
        names += [entry.name for entry in page]
        after = names[-1]
    assert names == [*BUILTIN, "a-1", "b", "c"]


@pytest.mark.parametrize("name", ["", "Pets", "my pets", "-pets", "p" * 65, "ä", "pets\n", "../pets"])
def test_names_with_other_characters_are_rejected(registry: VocabularyRegistry, name: str) -> None:
    with pytest.raises(ParameterError, match="name cannot be"):
        registry.put(name, PETS)


def test_oldest_versions_are_removed_above_the_limit(
    registry: VocabularyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "KEPT_VERSIONS", 3)
    for number in range(5):
        registry.put("pets", Vocabulary.from_names([f"label {number}"]))
    assert [entry.version for entry in registry.versions("pets")] == [5, 4, 3]
    with pytest.raises(VocabularyNotFoundError, match="version 2"):
        registry.get("pets", 2)


def test_changes_are_visible_to_another_process_at_once(
    stored: Settings, registry: VocabularyRegistry
) -> None:
    registry.put("pets", PETS)
    other = VocabularyRegistry.open(stored)
    assert other.get("pets").version == 1
    registry.put("pets", MORE)
    assert other.get("pets").version == 2
    registry.delete("pets")
    with pytest.raises(VocabularyNotFoundError):
        other.get("pets")
    other.close()


def test_last_known_version_is_served_without_the_database(
    registry: VocabularyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.put("pets", PETS)
    registry.put("cars", PETS)
    registry.get("pets")
    _break(monkeypatch)
    assert registry.get("pets").labels == PETS.labels
    assert registry.get("coco80") is builtin("coco80")
    unknown = [lambda: registry.get("cars"), lambda: registry.get("pets", 1), lambda: registry.put("a", PETS)]
    for call in unknown:
        with pytest.raises(StoreError) as caught:
            call()
        assert "gone" not in str(caught.value)


@pytest.mark.parametrize(
    ("match", "none_match", "exists", "holds"),
    [
        (None, None, False, True),
        (None, None, True, True),
        ('"1-a"', None, True, True),
        ('"0", "1-a"', None, True, True),
        ("*", None, True, True),
        ("*", None, False, False),
        ('"1-a"', None, False, False),
        ('W/"1-a"', None, True, False),
        ('"2-b"', None, True, False),
        (None, "*", False, True),
        (None, "*", True, False),
        (None, 'W/"1-a"', True, False),
        (None, '"2-b"', True, True),
    ],
)
def test_preconditions_follow_if_match_and_if_none_match(
    match: str | None, none_match: str | None, exists: bool, holds: bool
) -> None:
    headers = {"If-Match": match, "If-None-Match": none_match}
    conditions = Preconditions.of({name: value for name, value in headers.items() if value is not None})
    etag = '"1-a"' if exists else None
    if holds:
        conditions.check(etag)
    else:
        with pytest.raises(PreconditionError):
            conditions.check(etag)


@pytest.mark.parametrize("text", ["3-09de", '"3', "", '"a" "b"', "*, *"])
def test_unquoted_etag_is_rejected(text: str) -> None:
    with pytest.raises(TaggerError, match="If-Match"):
        Preconditions.of({"If-Match": text})
