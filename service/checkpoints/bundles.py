"""The folder of bundles: lists them, and finds one by its name."""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sigrl.model.bundle_files import MANIFEST, MAX_MANIFEST_BYTES, BundleError, bundled_path
from sigrl.model.manifest import read_manifest
from sigrl.service.errors import CheckpointNotFoundError, UnusableBundleError
from sigrl.service.settings import Settings, make_private_folder

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""The name of a bundle's folder: no path separators, and no hidden folders."""

_KIND = "sha256:"
_ID = re.compile(r"(sha256:)?[0-9a-f]{6,64}")


@dataclass(frozen=True)
class Bundle:
    """A folder whose manifest can be read; its other files are verified when it is loaded."""

    name: str | None
    """As `BundleStore.find` accepts it; None for the bundle that ships with the package."""
    path: Path
    checkpoint_id: str
    calibrated: bool = True
    """Whether it has a background set, by which any label gets a calibrated probability."""


def is_beginning(text: str, checkpoint_id: str) -> bool:
    """Whether `text`, with or without `sha256:`, is the beginning of an id, or all of it."""
    digits = text.removeprefix(_KIND)
    return bool(digits) and checkpoint_id.removeprefix(_KIND).startswith(digits)


def configured(settings: Settings) -> str | None:
    """The bundle that the settings name, if any. The path is absolute, because `BundleStore.find` looks for a
    bare name in the folder of bundles."""
    return None if settings.checkpoint is None else str(settings.checkpoint.absolute())


class BundleStore:
    """The bundles in `directory`. Each one is a folder, whose name is arbitrary."""

    def __init__(self, directory: Path, *, allow_paths: bool = False) -> None:
        """`allow_paths`: also accept paths outside `directory`. Every client that may load a bundle can then
        probe the file system."""
        self.directory, self._allow_paths = directory, allow_paths

    @classmethod
    def of(cls, settings: Settings) -> "BundleStore":
        """The store that the settings describe."""
        return cls(
            settings.checkpoints or settings.data / "checkpoints", allow_paths=settings.checkpoint_paths
        )

    def make(self) -> None:
        """Creates the folder, so that there is a place to copy bundles to, unless that is not permitted."""
        with suppress(OSError):
            make_private_folder(self.directory)

    def find(self, name: str | None, *, trusted: bool = False) -> Bundle:
        """Finds a bundle by its name, or by its path if paths are allowed or the operator gave it
        (`trusted`). None means the bundle in the package. If no folder has that name, it may be the beginning
        of a checkpoint id, at least six characters long, that only one bundle in the folder has.

        Raises CheckpointNotFoundError if there is no such bundle, UnusableBundleError if its manifest cannot
        be read.
        """
        path = self._with_id(name) if name is not None else None
        if path is None:
            path = self._path(name, trusted=trusted)
        else:
            name = path.name
        try:
            with (path / MANIFEST).open("rb") as file:
                manifest, checkpoint_id = read_manifest(file.read(MAX_MANIFEST_BYTES))
        except FileNotFoundError as error:
            detail = f"there is no bundle {name!a}: {MANIFEST} is not there"
            raise CheckpointNotFoundError(
                detail, "copy it into the folder of bundles first: SIGRL_CHECKPOINTS"
            ) from error
        except OSError as error:
            raise UnusableBundleError(
                f"the bundle {name!a} cannot be read: {error.strerror}", "check its permissions"
            ) from error
        except ValueError as error:
            raise UnusableBundleError(f"the bundle {name!a}: {error}", "copy it again") from error
        return Bundle(name, path, checkpoint_id, manifest.calibration is not None)

    def names(self) -> list[str]:
        """The names of all folders with a manifest, sorted; empty if `directory` cannot be read."""
        try:
            folders = sorted(self.directory.iterdir())
        except OSError:
            return []
        return [path.name for path in folders if NAME.fullmatch(path.name) and (path / MANIFEST).is_file()]

    def _with_id(self, text: str) -> Path | None:
        """The folder of the only bundle whose id begins with `text`; None if a folder is named `text`, or if
        no bundle or several of them match."""
        if not _ID.fullmatch(text) or (self.directory / text).exists():
            return None
        found = []
        for name in self.names():
            with suppress(OSError, ValueError), (self.directory / name / MANIFEST).open("rb") as file:
                if is_beginning(text, read_manifest(file.read(MAX_MANIFEST_BYTES))[1]):
                    found.append(self.directory / name)
        return found[0] if len(found) == 1 else None

    def _path(self, name: str | None, *, trusted: bool) -> Path:
        if name is None:
            try:
                return bundled_path()
            except BundleError as error:
                raise CheckpointNotFoundError(str(error), "name a bundle") from error
        if NAME.fullmatch(name):
            return self.directory / name
        if (trusted or self._allow_paths) and "\0" not in name:
            return Path(name)
        raise CheckpointNotFoundError(
            f"a bundle's name cannot be {name[:80]!a}",
            f"give the name of a folder in {self.directory}; paths need SIGRL_CHECKPOINT_PATHS=true",
        )
