import shutil
from pathlib import Path

import pytest
from checkpoints.fake_bundles import fake_tagger

from sigrl.service.checkpoints.bundles import Bundle, BundleStore
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.checkpoints.watching import Watcher
from sigrl.service.schemas.checkpoints import State
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """Watches an empty folder; loading from it is faked."""
    settings = Settings(checkpoints=tmp_path / "store", watch_checkpoints="activate")
    store = BundleStore.of(settings)

    def load(path: Path) -> Tagger:
        return fake_tagger(store.find(path.name).checkpoint_id.removeprefix("sha256:"))

    return Runtime(fake_tagger("first"), settings, bundles=store, load=load)


def _looked(watcher: Watcher, runtime: Runtime, times: int) -> str:
    """The active checkpoint after this many polls."""
    for _ in range(times):
        watcher.look()
        runtime._threads.submit(int).result(60)
    return runtime.table.active.id


def test_new_bundle_is_activated_once_it_is_complete(runtime: Runtime, tiny_bundle: Path) -> None:
    watcher = Watcher(runtime)
    assert _looked(watcher, runtime, 1) == "sha256:first"
    new = runtime.bundles.directory / "new"
    new.mkdir(parents=True)
    content = (tiny_bundle / "model.safetensors").read_bytes()
    for name in ("manifest.json", "tokenizer.json"):
        shutil.copy(tiny_bundle / name, new)
    # The copy pauses half-way.
    (new / "model.safetensors").write_bytes(content[:1000])
    assert _looked(watcher, runtime, 3) == "sha256:first"
    assert len(runtime.table.infos()) == 1
    (new / "model.safetensors").write_bytes(content)
    assert _looked(watcher, runtime, 1) == "sha256:first"
    assert _looked(watcher, runtime, 2) == runtime.bundles.find("new").checkpoint_id
    # A rollback is not undone.
    runtime.rollback()
    assert _looked(watcher, runtime, 3) == "sha256:first"


def test_bundles_present_at_start_are_ignored(runtime: Runtime, tiny_bundle: Path) -> None:
    shutil.copytree(tiny_bundle, runtime.bundles.directory / "old")
    assert _looked(Watcher(runtime), runtime, 3) == "sha256:first"


def test_new_bundle_becomes_a_shadow_first_with_drift_limits(runtime: Runtime, tiny_bundle: Path) -> None:
    limits = {"drift_changed_tags": 0.5, "drift_photographs": 1}
    runtime.settings = runtime.settings.model_copy(update=limits)
    watcher = Watcher(runtime)
    shutil.copytree(tiny_bundle, runtime.bundles.directory / "new")
    assert _looked(watcher, runtime, 5) == "sha256:first"
    new = runtime.table.get(runtime.bundles.find("new").checkpoint_id)
    assert new.state is State.SHADOW
    assert new.drift is not None
    new.drift._photographs = 1
    assert _looked(watcher, runtime, 1) == new.id


def test_new_bundle_waits_until_a_checkpoint_slot_is_free(runtime: Runtime, tiny_bundle: Path) -> None:
    watcher = Watcher(runtime)
    for name in ("a", "b"):
        # Loaded without a bundle in the folder.
        checkpoint, _ = runtime.table.admit(Bundle(name, Path(name), f"sha256:{name}"))
        runtime.table.settle(checkpoint, fake_tagger(name), 0.0)
    shutil.copytree(tiny_bundle, runtime.bundles.directory / "new")
    assert _looked(watcher, runtime, 3) == "sha256:first"
    runtime.unload("sha256:a")
    assert _looked(watcher, runtime, 2) == runtime.bundles.find("new").checkpoint_id
