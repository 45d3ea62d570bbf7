"""The database is restored from an older state while a process goes on."""

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient
from sqlalchemy import delete, update

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.app import create_app
from sigrl.service.database.tables import (
    CalibrationRow,
    ExampleRow,
    VocabularyRow,
    VocabularyVersionRow,
)
from sigrl.service.schemas.calibration import CalibrationGoal
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.calibration_store import CalibrationStore
from sigrl.service.vocabularies.registry import VocabularyRegistry


def _restore(registry: VocabularyRegistry, version: int) -> None:
    """As if a copy from the time of that version had been put in the database's place."""
    rows = VocabularyVersionRow
    with registry.database.write() as connection:
        connection.execute(delete(rows).where(rows.version > version))
        connection.execute(delete(ExampleRow))
        connection.execute(delete(CalibrationRow))
        connection.execute(update(VocabularyRow).values(version=version, calibration=None, calibrations=0))


def test_restored_vocabulary_uses_new_labels_and_unique_versions(stored: Settings, tagger: Tagger) -> None:
    with TestClient(create_app(stored, tagger)) as client:
        path = "/v1/vocabularies/pets"

        def labels() -> list[str]:
            tagged = client.post("/v1/tag?vocabulary=pets&top_k=5", content=samples.jpeg())
            return sorted(tag["label"] for tag in tagged.json()["images"][0]["tags"])

        for names in (["base"], ["alpha", "beta"]):
            client.put(path, json=names)
        assert labels() == ["alpha", "beta"]
        other = VocabularyRegistry.open(stored)
        _restore(other, 1)
        # Another replica, which has not seen what was lost, gives the number out again.
        assert other.put("pets", Vocabulary.from_names(["red", "blue"]))[0].version == 2
        other.close()
        assert labels() == ["blue", "red"]
        assert [label["name"] for label in client.get(path).json()["labels"]] == ["red", "blue"]
        other = VocabularyRegistry.open(stored)
        _restore(other, 1)
        other.close()
        assert client.put(path, json=["green"]).json()["version"] == 3
        assert labels() == ["green"]


def test_database_restore_is_logged(stored: Settings, caplog: pytest.LogCaptureFixture) -> None:
    registry = VocabularyRegistry.open(stored)
    for names in (["a"], ["b"]):
        registry.put("pets", Vocabulary.from_names(names))
    assert registry.get("pets").names == ("b",)
    _restore(registry, 1)
    assert "restored" not in caplog.text
    assert registry.get("pets").names == ("a",)
    assert "the database was restored from an older state" in caplog.text
    registry.close()


def test_reused_calibration_number_is_not_mistaken_for_the_lost_one() -> None:
    registry = VocabularyRegistry.open(Settings())
    store, tagger = CalibrationStore(registry.database), Tagger(engine=FakeEngine())
    registry.put("pets", Vocabulary.from_names(["red"]))
    keys, goals = [], [CalibrationGoal(kind="false-positive-rate", value=value) for value in (0.1, 0.2)]
    for goal in goals:
        number = store.add("pets", [], goal, replace=True, limit=10)
        vocabulary = registry.get("pets")
        assert (vocabulary.calibration, number) == (1, 1)
        assert store.get("pets", number, vocabulary.calibrated).goal == goal
        keys.append(tagger.labels.key(vocabulary))
        _restore(registry, 1)
    assert keys[0] != keys[1]
    registry.close()
