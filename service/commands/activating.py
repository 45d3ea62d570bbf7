"""Activates a bundle, whether a server runs or not."""

import time
from typing import TYPE_CHECKING

from sigrl.service.commands.server import connected
from sigrl.service.errors import ServerError, UnreachableError

if TYPE_CHECKING:
    from sigrl.service.client import Client
    from sigrl.service.schemas.checkpoints import CheckpointInfo
    from sigrl.service.settings import Settings

_POLL_SECONDS = 0.5
GONE = ("failed", "retired")
_ON_THE_WAY = ("candidate", "loading", "warming")


def load_and_wait(client: "Client", bundle: str) -> "CheckpointInfo":
    """Has the server load a bundle, shows the progress, and returns when it is ready. Raises ServerError if
    it cannot be loaded."""
    from sigrl.service.terminal import Renderer

    info = client.load_checkpoint(bundle)
    with Renderer(as_json=False) as renderer, renderer.phase("loading", 100) as done:
        while info.state in _ON_THE_WAY:
            time.sleep(_POLL_SECONDS)
            info = client.get_checkpoint(info.id)
            done(100 * info.labels_done // max(info.labels_total, 1))
    if info.state in GONE:
        reason = info.reason or "it has been unloaded since"
        raise ServerError(f"the bundle {bundle!a} was not loaded: {reason}", "repair it and load it again")
    return info


def activate_now_or_later(bundle: str, settings: "Settings", server: str) -> str:
    """Activates a bundle on the server; if none answers, records the activation for the next start. Returns a
    sentence that says which of the two happened. Raises the server's errors, and StoreError."""
    try:
        with connected(server) as client:
            info = load_and_wait(client, bundle)
            if info.state != "active":
                client.activate_checkpoint(info.id)
        return f"{bundle} is active on {server}"
    except UnreachableError:
        _write_down(bundle, settings)
        return f"no server answers at {server}; the next `sigrl serve` begins with {bundle}"


def _write_down(bundle: str, settings: "Settings") -> None:
    from sigrl.service.checkpoints.activations import Activations
    from sigrl.service.checkpoints.bundles import BundleStore, configured
    from sigrl.service.vocabularies.registry import VocabularyRegistry

    found = BundleStore.of(settings).find(bundle)
    registry = VocabularyRegistry.open(settings)
    try:
        history = Activations(registry.database)
        history.record(found.checkpoint_id, found.name, configured(settings), by_settings=False)
    finally:
        registry.close()
