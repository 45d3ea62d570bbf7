"""Bundles without files: the name is the id, and some names cannot be loaded."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fake_engine import COLOURS, FakeEngine

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.checkpoints.bundles import Bundle, BundleStore
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.errors import CheckpointNotFoundError
from sigrl.service.schemas.checkpoints import ON_THE_WAY, State
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

VOCABULARY = Vocabulary.from_names(list(COLOURS), "colours")
FAULTS: dict[str, Exception] = {"huge": MemoryError(), "odd": ValueError("tensors are missing")}


class FakeBundles(BundleStore):
    def find(self, name: str | None, *, trusted: bool = False) -> Bundle:  # noqa: ARG002
        if name == "nowhere":
            raise CheckpointNotFoundError("there is none", "copy it")
        return Bundle(name, Path(str(name)), f"sha256:{name}")

    def names(self) -> list[str]:
        return []


def load(path: Path) -> Tagger:
    if path.name in FAULTS:
        raise FAULTS[path.name]
    if path.name == "swapped":
        return fake_tagger("another")
    return fake_tagger(path.name)


def fake_tagger(name: str, **engine: Any) -> Tagger:
    return Tagger(engine=FakeEngine(f"sha256:{name}", **engine), vocabulary=VOCABULARY)


def fake_runtime(
    first: str = "first", registered: Iterable[Vocabulary] = (), loader: Any = load, **settings: Any
) -> Runtime:
    return Runtime(
        fake_tagger(first),
        Settings(**settings),
        bundle=first,
        bundles=FakeBundles(Path("unused")),
        load=loader,
        registered=lambda: registered,
    )


def settled(runtime: Runtime, name: str) -> State:
    """Waits until it is no longer being loaded, and returns its state."""
    runtime._threads.submit(int).result(60)
    state = runtime.table.get(f"sha256:{name}").state
    assert state not in ON_THE_WAY
    return state


def loaded(runtime: Runtime, name: str) -> str:
    """Loads a bundle and returns the id of the ready checkpoint."""
    checkpoint = runtime.load(name).id
    assert settled(runtime, name) is State.READY
    return checkpoint
