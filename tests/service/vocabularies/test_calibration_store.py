"""Calibrations in either database."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import func, select

from sigrl.model.kept_features import keep
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.database.tables import ExampleFeaturesRow, ExamplePhotographRow, ExampleRow
from sigrl.service.errors import CalibrationNotFoundError, ExamplesError, VocabularyNotFoundError
from sigrl.service.schemas.calibration import CalibrationGoal
from sigrl.service.settings import Settings
from sigrl.service.vocabularies import calibration_queries as queries
from sigrl.service.vocabularies.calibration_store import CalibrationStore
from sigrl.service.vocabularies.examples import Example
from sigrl.service.vocabularies.registry import VocabularyRegistry

F1 = CalibrationGoal()


@pytest.fixture
def registry(stored: Settings) -> Iterator[VocabularyRegistry]:
    registry = VocabularyRegistry.open(stored)
    for name in ("pets", "house"):
        registry.put(name, Vocabulary.from_names(["dog", "cat"]))
    yield registry
    registry.close()


@pytest.fixture
def store(registry: VocabularyRegistry) -> CalibrationStore:
    return CalibrationStore(registry.database)


def _example(number: int, **shown: bool) -> Example:
    return Example(f"sha256:{number:064x}", b"photograph %d" % number, shown)


def _add(store: CalibrationStore, *examples: Example, name: str = "pets", replace: bool = False) -> int:
    return store.add(name, examples, F1, replace=replace, limit=1000)


def _counts(registry: VocabularyRegistry) -> tuple[int, ...]:
    with registry.database.read() as connection:
        return tuple(
            connection.scalar(select(func.count()).select_from(rows)) or 0
            for rows in (ExampleRow, ExamplePhotographRow, ExampleFeaturesRow)
        )


def test_each_calibration_keeps_its_own_marks(store: CalibrationStore) -> None:
    assert _add(store, _example(1, dog=True), _example(2, cat=True)) == 1
    assert _add(store, _example(1, dog=False, cat=True), _example(3, dog=True)) == 2
    assert _add(store, _example(4, cat=False), replace=True) == 3
    first, second, third = (store.get("pets", number) for number in (1, 2, 3))
    assert [dict(shown) for _, shown in first.examples] == [{"dog": True}, {"cat": True}]
    assert [dict(shown) for _, shown in second.examples] == [
        {"dog": False, "cat": True},
        {"cat": True},
        {"dog": True},
    ]
    assert [dict(shown) for _, shown in third.examples] == [{"cat": False}]


def test_deleting_removes_examples_not_used_by_other_vocabularies(
    store: CalibrationStore, registry: VocabularyRegistry
) -> None:
    _add(store, _example(1, dog=True), _example(2, dog=True))
    _add(store, _example(2, dog=True), name="house")
    features = keep(np.ones((1, 4), np.float32), np.ones((1, 2, 4), np.float32))
    store.keep_features("sha256:a", {_example(n).digest: features for n in (1, 2, 3)})
    assert _counts(registry) == (3, 2, 2)
    store.forget("pets")
    assert _counts(registry) == (1, 1, 1)
    assert registry.get("pets").calibration is None
    with pytest.raises(CalibrationNotFoundError):
        store.get("pets", 1)
    registry.delete("house")
    assert _counts(registry) == (0, 0, 0)
    with pytest.raises(VocabularyNotFoundError):
        store.forget("house")


def test_old_calibrations_are_removed(
    store: CalibrationStore, registry: VocabularyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "KEPT_CALIBRATIONS", 2)
    for number in range(4):
        _add(store, _example(number, dog=True), replace=True)
    assert _counts(registry)[:2] == (2, 2)
    assert [dict(shown) for _, shown in store.get("pets", 3).examples] == [{"dog": True}]
    with pytest.raises(CalibrationNotFoundError):
        store.get("pets", 2)


def test_stored_features_are_returned_and_old_checkpoints_removed(
    store: CalibrationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "KEPT_CHECKPOINTS", 2)
    _add(store, _example(1, dog=True))
    digest = _example(1).digest
    rng = np.random.default_rng(0)
    made = keep(rng.random((1, 4), np.float32), rng.random((1, 2, 4), np.float32))
    for checkpoint in ("sha256:a", "sha256:b", "sha256:c"):
        store.keep_features(checkpoint, {digest: made})
        store.keep_features(checkpoint, {digest: made})
    assert store.features("sha256:a", [digest]) == {}
    for name, tensor in store.features("sha256:c", [digest])[digest].tensors().items():
        np.testing.assert_array_equal(tensor, made.tensors()[name])


def test_concurrent_examples_are_all_stored(store: CalibrationStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: _add(store, _example(n % 4, **{f"label {n}": True})), range(16)))
        others = list(pool.map(lambda n: _add(store, _example(n % 4, dog=True), name="house"), range(4)))
    assert sorted(numbers) == list(range(1, 17))
    assert sorted(others) == [1, 2, 3, 4]
    shown = [set(shown) for _, shown in store.get("pets", 16).examples]
    assert shown == [{f"label {n}" for n in range(digest, 16, 4)} for digest in range(4)]


def test_example_limit_counts_stored_examples(store: CalibrationStore) -> None:
    _add(store, _example(1, dog=True), _example(2, dog=True))
    store.add("pets", [_example(2, cat=True)], F1, replace=False, limit=2)
    with pytest.raises(ExamplesError, match="3 examples, at most 2"):
        store.add("pets", [_example(3, dog=True)], F1, replace=False, limit=2)
    store.add("pets", [_example(3, dog=True), _example(4, dog=True)], F1, replace=True, limit=2)
