"""Watches the folder of bundles: a bundle that is copied there is loaded and, if so configured, activated."""

import logging
from threading import Event, Thread

from sigrl.model.bundle_files import BundleError, read_files
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.errors import CheckpointNotFoundError, CheckpointStateError, DriftError, TaggerError
from sigrl.service.schemas.checkpoints import ON_THE_WAY, State

_logger = logging.getLogger("sigrl")

Signature = tuple[tuple[str, int, int], ...]
"""Path, size and modification time of every file."""


class Watcher:
    """Polls the folder. A bundle is loaded once it did not change between two polls and all its hashes are
    correct, so never while it is still being copied. Bundles that were there at the start are ignored: the
    last activated one is loaded anyway."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="sigrl-watcher", daemon=True)
        self._settled = {name: self._signature(name) for name in runtime.bundles.names()}
        self._seen: dict[str, Signature] = {}
        self._wanted: str | None = None
        self._told: str | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops polling."""
        self._stop.set()

    def look(self) -> None:
        """Polls the folder once, and takes the next step with the newest bundle."""
        for name in self._runtime.bundles.names():
            signature = self._signature(name)
            if not signature or self._settled.get(name) == signature:
                continue
            if self._seen.get(name) == signature:
                self._take(name, signature)
            self._seen[name] = signature
        if self._wanted is not None:
            self._go_on(self._wanted)

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.watch_seconds):
            try:
                self.look()
            except Exception:
                _logger.exception("the folder of bundles could not be read")

    def _take(self, name: str, signature: Signature) -> None:
        try:
            read_files(self._runtime.bundles.directory / name)
            info = self._runtime.load(name)
        except CheckpointStateError as error:
            # It is tried again, because there may be room later.
            self._tell(f"the bundle {name} is not loaded yet: {error}")
            return
        except (BundleError, TaggerError) as error:
            _logger.warning("the bundle %s is ignored: %s", name, error)
        else:
            if self._settings.watch_checkpoints == "activate":
                self._wanted = info.id
        self._settled[name] = signature

    def _go_on(self, checkpoint_id: str) -> None:
        try:
            state = self._runtime.table.get(checkpoint_id).state
            if state is State.READY and self._is_limited:
                self._runtime.shadow(checkpoint_id)
            elif state in (State.READY, State.SHADOW):
                self._runtime.activate(checkpoint_id)
                # A later rollback must not be undone.
                self._wanted = None
            elif state not in ON_THE_WAY:
                self._wanted = None
        except CheckpointNotFoundError:
            self._wanted = None
        except DriftError as error:
            self._tell(f"the checkpoint {checkpoint_id} is not activated yet: {error}")

    @property
    def _is_limited(self) -> bool:
        settings = self._settings
        limits = (
            settings.drift_changed_tags,
            settings.drift_probability,
            settings.drift_latency,
            settings.drift_calibration_error,
        )
        return any(limit is not None for limit in limits)

    def _tell(self, message: str) -> None:
        if message != self._told:
            _logger.warning(message)
        self._told = message

    def _signature(self, name: str) -> Signature:
        found = []
        try:
            for path in sorted((self._runtime.bundles.directory / name).rglob("*")):
                status = path.stat()
                found.append((str(path), status.st_size, status.st_mtime_ns))
        except OSError:
            # The folder changes while it is being read.
            return ()
        return tuple(found)


def watch(runtime: Runtime) -> Watcher | None:
    """Starts a watcher if the settings ask for one."""
    if runtime.settings.watch_checkpoints == "off":
        return None
    watcher = Watcher(runtime)
    watcher.start()
    return watcher
