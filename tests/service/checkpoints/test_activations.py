from pathlib import Path

import pytest
from checkpoints.fake_bundles import FakeBundles, fake_tagger, load
from sqlalchemy import delete

from sigrl.service.checkpoints.activations import Activation, Activations
from sigrl.service.checkpoints.following import Follower
from sigrl.service.checkpoints.replicas import Replicas
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.database.database import Database
from sigrl.service.database.tables import ActivationRow
from sigrl.service.errors import CheckpointNotFoundError, CheckpointStateError
from sigrl.service.schemas.checkpoints import ON_THE_WAY
from sigrl.service.settings import Settings


def test_last_activation_is_persisted_with_an_increasing_number(stored: Settings) -> None:
    database = Database.open(stored)
    activations = Activations(database)
    assert activations.last() is None
    first = activations.record("sha256:a", None, None, by_settings=True)
    second = activations.record("sha256:b", "two", "/bundles/a", by_settings=False)
    assert second > first > 0
    database.close()

    database = Database.open(stored)
    expected = Activation(second, "sha256:b", "two", "/bundles/a", by_settings=False)
    assert Activations(database).last() == expected
    database.close()


def _restarted(active: str, database: Database) -> Runtime:
    """A process that has just begun with the checkpoint that was activated last."""
    history = Activations(database)
    last = history.last()
    return Runtime(
        fake_tagger(active),
        Settings(),
        bundle=active,
        bundles=FakeBundles(Path("unused")),
        load=load,
        history=history,
        generation=0 if last is None else last.generation,
    )


def test_rollback_after_restart_loads_the_previous_checkpoint(stored: Settings) -> None:
    database = Database.open(stored)
    history = Activations(database)
    for name in ("oldest", "first", "second", "second"):
        history.record(f"sha256:{name}", name, None, by_settings=False)
    runtime = _restarted("second", database)
    assert runtime.rollback().id == "sha256:first"
    assert runtime.table.active.id == "sha256:first"
    # From here on as ever.
    assert runtime.rollback().id == "sha256:second"
    runtime.close()
    database.close()


def test_failed_rollback_after_restart_reports_the_reason(stored: Settings) -> None:
    database = Database.open(stored)
    history = Activations(database)
    runtime = _restarted("second", database)
    with pytest.raises(CheckpointStateError, match="no checkpoint that was active before"):
        runtime.rollback()
    history.record("sha256:odd", "odd", None, by_settings=False)
    with pytest.raises(CheckpointStateError, match="tensors are missing"):
        runtime.rollback()
    history.record("sha256:nowhere", "nowhere", None, by_settings=False)
    with pytest.raises(CheckpointNotFoundError):
        runtime.rollback()
    assert runtime.table.active.id == "sha256:second"
    runtime.close()
    database.close()


def test_replica_follows_activations_after_a_database_restore(stored: Settings) -> None:
    database = Database.open(stored)
    history = Activations(database)
    for name in ("first", "second", "first", "second"):
        newest = history.record(f"sha256:{name}", name, None, by_settings=False)
    runtime = _restarted("second", database)
    follower = Follower(runtime, Replicas(database, "one"))
    follower.look()
    assert (runtime.generation, runtime.table.active.id) == (newest, "sha256:second")
    with database.write() as connection:
        connection.execute(delete(ActivationRow).where(ActivationRow.generation > newest - 1))
    for _ in range(2):
        follower.look()
        checkpoint = runtime.table.get("sha256:first")
        runtime.table.wait_until_settled(checkpoint, 60)
        assert checkpoint.state not in ON_THE_WAY
    assert (runtime.generation, runtime.table.active.id) == (newest - 1, "sha256:first")
    runtime.close()
    database.close()
