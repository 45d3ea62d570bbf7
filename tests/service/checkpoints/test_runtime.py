import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import sample_images as samples
from checkpoints.fake_bundles import fake_runtime, fake_tagger, load, loaded, settled

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.errors import CheckpointNotFoundError, CheckpointStateError, StoreError
from sigrl.service.observability import metrics
from sigrl.service.schemas.checkpoints import State
from sigrl.service.tagging.tagger import Tagger


def states(runtime: Runtime) -> dict[str, str]:
    return {info.id.removeprefix("sha256:"): str(info.state) for info in runtime.table.infos()}


def test_running_request_keeps_its_checkpoint_after_activation() -> None:
    runtime = fake_runtime()
    old = runtime.acquire()
    runtime.activate(loaded(runtime, "new"))
    with runtime.acquire() as new:
        assert new.tagger.engine.checkpoint_id == "sha256:new"
    assert old.tagger.engine.checkpoint_id == "sha256:first"
    assert states(runtime) == {"first": "ready", "new": "active"}
    runtime.unload("sha256:first")
    assert states(runtime)["first"] == "draining"
    assert old.tagger.tag(samples.jpeg()).labels == ("red", "blue")
    old.release()
    old.release()
    assert states(runtime)["first"] == "retired"


def test_unloaded_checkpoint_is_freed() -> None:
    runtime = fake_runtime()
    checkpoint = loaded(runtime, "new")
    with runtime.acquire() as handle:
        handle.tagger.tag(samples.jpeg())
    tagger = runtime.table.get(checkpoint).tagger
    assert tagger is not None
    left = weakref.ref(tagger.engine)
    runtime.unload(checkpoint)
    del tagger
    gc.collect()
    assert left() is None


def test_rollback_activates_the_previous_checkpoint_unless_unloaded() -> None:
    runtime = fake_runtime()
    with pytest.raises(CheckpointStateError):
        runtime.rollback()
    runtime.activate(loaded(runtime, "new"))
    assert runtime.rollback().id == "sha256:first"
    assert runtime.rollback().id == "sha256:new"
    assert runtime.generation == 3
    runtime.unload("sha256:first")
    with pytest.raises(CheckpointStateError):
        runtime.rollback()
    with pytest.raises(CheckpointStateError, match="active"):
        runtime.unload("sha256:new")


@pytest.mark.parametrize(
    ("name", "why"), [("huge", "memory"), ("odd", "tensors are missing"), ("swapped", "changed")]
)
def test_failed_load_reports_the_reason_and_keeps_the_active_one(name: str, why: str) -> None:
    runtime = fake_runtime()
    runtime.load(name)
    assert settled(runtime, name) is State.FAILED
    info = runtime.table.info(runtime.table.get(f"sha256:{name}"))
    assert why in str(info.reason)
    with pytest.raises(CheckpointStateError, match=why):
        runtime.activate(info.id)
    with runtime.acquire() as handle:
        assert handle.tagger.tag(samples.jpeg()).checkpoint == "sha256:first"
    assert runtime.load(name).state is not State.FAILED
    with pytest.raises(CheckpointNotFoundError):
        runtime.load("nowhere")


def test_model_with_nan_scores_never_becomes_ready() -> None:
    def broken(_: Path) -> Tagger:
        tagger = fake_tagger("broken")
        tagger.engine.score = lambda *_: np.full((1, 5), np.nan, np.float32)  # type: ignore[method-assign]
        return tagger

    runtime = fake_runtime(loader=broken)
    runtime.load("broken")
    assert settled(runtime, "broken") is State.FAILED


def test_checkpoint_encodes_all_used_vocabularies_before_it_is_ready() -> None:
    pets, cars = Vocabulary.from_names(["dog", "cat"]), Vocabulary.from_names(["car"])
    runtime = fake_runtime(registered=[pets])
    runtime.note([cars])
    checkpoint = runtime.table.get(loaded(runtime, "new"))
    assert checkpoint.tagger is not None
    assert all(checkpoint.tagger.labels.in_memory(each) for each in (pets, cars))
    assert checkpoint.tagger.labels.in_memory(checkpoint.tagger.vocabulary)
    assert checkpoint.done == checkpoint.total == 8


def test_loading_checkpoint_can_be_cancelled() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> Tagger:
        entered.set()
        assert go_on.wait(60)
        return load(path)

    runtime = fake_runtime(loader=slow)
    runtime.load("new")
    assert entered.wait(60)
    assert runtime.load("new").state is State.LOADING
    with pytest.raises(CheckpointStateError, match="loading"):
        runtime.activate("sha256:new")
    runtime.unload("sha256:new")
    go_on.set()
    assert settled(runtime, "new") is State.RETIRED


def test_loaded_checkpoints_are_limited() -> None:
    runtime = fake_runtime(checkpoints_in_memory=3)
    loaded(runtime, "b")
    loaded(runtime, "c")
    with pytest.raises(CheckpointStateError, match="3 checkpoints"):
        runtime.load("d")
    runtime.activate("sha256:b")
    runtime.activate("sha256:c")
    # `first` was active once, and no rollback leads to it.
    loaded(runtime, "d")
    assert states(runtime) == {"first": "retired", "b": "ready", "c": "active", "d": "ready"}


def test_activation_that_cannot_be_stored_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = fake_runtime()
    checkpoint = loaded(runtime, "new")

    def fail(*_: object, **__: object) -> int:
        raise StoreError("gone", "later")

    monkeypatch.setattr(runtime._history, "record", fail)
    with pytest.raises(StoreError):
        runtime.activate(checkpoint)
    assert states(runtime) == {"first": "active", "new": "ready"}
    assert runtime.generation == 0


def test_metrics_report_state_and_generation() -> None:
    runtime = fake_runtime()
    runtime.activate(loaded(runtime, "measured"))
    sample = metrics.REGISTRY.get_sample_value
    assert sample("sigrl_generation") == 1
    assert sample("sigrl_checkpoint_info", {"checkpoint": "sha256:measured"}) == 1
    assert sample("sigrl_checkpoint_info", {"checkpoint": "sha256:first"}) is None
    assert sample("sigrl_checkpoint_state", {"checkpoint": "sha256:measured", "state": "active"}) == 1
    assert sample("sigrl_checkpoint_state", {"checkpoint": "sha256:measured", "state": "ready"}) is None
