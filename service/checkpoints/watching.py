"""The folder of bundles as an alternative to the API: what is copied there is loaded, and activated."""

import logging
from threading import Event, Thread

from sigrl.model.bundle_files import BundleError, read_files
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.errors import CheckpointNotFoundError, CheckpointStateError, DriftError, TaggerError
from sigrl.service.schemas.checkpoints import ON_THE_WAY, State

_logger = logging.getLogger("sigrl")

Signature = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of every file."""


class Watcher:
    """Looks at the folder every so often. A bundle counts when nothing about it changed between two looks and
    all its hashes are right, so never one that is still being copied. What lies there from the start does
    not count: that is history, and what was activated last is loaded anyway."""

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
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Looks no more."""
        self._stop.set()

    def look(self) -> None:
        """Once over the folder, and one step on with the bundle that came last."""
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
                _logger.exception("the folder of bundles could not be looked through")

    def _take(self, name: str, signature: Signature) -> None:
        try:
            read_files(self._runtime.bundles.directory / name)
            info = self._runtime.load(name)
        except CheckpointStateError as error:
            # There may be room later.
            self._tell(f"the bundle {name} is not loaded yet: {error}")
            return
        except (BundleError, TaggerError) as error:
            _logger.warning("the bundle %s is passed over: %s", name, error)
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
                # Whoever goes back from it later is not overruled.
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
            # It changes while it is looked at.
            return ()
        return tuple(found)


def watch(runtime: Runtime) -> Watcher | None:
    """A watcher at work, if the settings want one."""
    if runtime.settings.watch_checkpoints == "off":
        return None
    watcher = Watcher(runtime)
    watcher.start()
    return watcher
