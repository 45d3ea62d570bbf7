"""Reads, verifies and writes the files of a checkpoint bundle, for any engine. Imports without torch.

A bundle is a directory with manifest.json and the files that it names: model.safetensors, tokenizer.json for
sentence encoders, calibration.safetensors if its labels are calibrated and, after an export, ONNX graphs that
refer to the weights. Nothing pickled is ever opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from sigrl.model.manifest import Description, Manifest, read_manifest, sha256, write_manifest

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 2**20
PICKLED = {".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle"}


class BundleError(Exception):
    """A bundle that cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class BundleFiles:
    """A bundle's verified files in memory."""

    manifest: Manifest
    """The bundle's manifest."""
    checkpoint_id: str
    """See `read_manifest`."""
    manifest_text: bytes
    """Content of manifest.json."""
    contents: Mapping[str, bytes]
    """Content of every other file, by its name in the manifest."""


def make_files(description: Description, contents: Mapping[str, bytes]) -> BundleFiles:
    """The files of a new bundle. Raises ValueError when their names are not those of the description's model,
    or when the description cannot be represented in JSON."""
    text = write_manifest(description, {name: sha256(content) for name, content in contents.items()})
    manifest, checkpoint_id = read_manifest(text)
    return BundleFiles(manifest, checkpoint_id, text, contents)


def read_files(directory: Path) -> BundleFiles:
    """Reads and verifies a bundle's files.

    Raises BundleError when the bundle is missing, damaged, of another format, or contains an unlisted file.
    """
    try:
        with (directory / MANIFEST).open("rb") as file:
            text = file.read(MAX_MANIFEST_BYTES)
        present = {entry.name for entry in directory.iterdir()}
    except OSError as error:
        raise BundleError(
            f"{directory} has no readable {MANIFEST} ({error.strerror or error}): name the directory of a "
            "checkpoint bundle; other weights are converted by `sigrl-train import`"
        ) from error
    try:
        manifest, checkpoint_id = read_manifest(text)
        _refuse_unlisted(present - manifest.files.keys() - {MANIFEST})
        contents = {name: _read_verified(directory, name, sha) for name, sha in manifest.files.items()}
    except ValueError as error:
        raise BundleError(f"{directory}: {error}") from error
    return BundleFiles(manifest, checkpoint_id, text, contents)


def write_files(directory: Path, files: BundleFiles) -> None:
    """Writes a new bundle; the directory appears complete or not at all.

    A directory that already contains this bundle is verified and kept. Raises BundleError when it is damaged,
    contains anything else, or cannot be written.
    """
    # An installation that only serves writes no bundles, and may lack filelock.
    from sigrl.model.unfinished import unfinished_folder

    try:
        if (directory / MANIFEST).is_file() and (directory / MANIFEST).read_bytes() == files.manifest_text:
            read_files(directory)
            return
        directory.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(directory.parent) as parent:
            unfinished = parent / directory.name
            unfinished.mkdir()
            for name, content in {**files.contents, MANIFEST: files.manifest_text}.items():
                (unfinished / name).write_bytes(content)
            unfinished.rename(directory)
    except OSError as error:
        raise BundleError(
            f"cannot write the bundle {directory} ({error.strerror or error}): a bundle is final; "
            "name a new directory"
        ) from error


def bundled_path() -> Path:
    """The directory of the checkpoint that is installed with the package. Raises BundleError when there is
    none."""
    path = Path(str(resources.files("sigrl.model").joinpath("bundled")))
    if not (path / MANIFEST).is_file():
        raise BundleError(
            "the package was installed without a checkpoint: install the wheel of a release, or name the "
            "directory of a bundle"
        )
    return path


def has_graphs(directory: Path | None) -> bool:
    """Whether a bundle lists ONNX graphs; None: the bundled one. False also for a bundle that cannot be used:
    loading it says why."""
    try:
        path = bundled_path() if directory is None else directory
        manifest, _ = read_manifest((path / MANIFEST).read_bytes())
    except (OSError, ValueError, BundleError):
        return False
    return manifest.onnx_file_names <= manifest.files.keys()


def _refuse_unlisted(unlisted: set[str]) -> None:
    for name in sorted(unlisted):
        if Path(name).suffix.lower() in PICKLED:
            raise ValueError(
                f"it contains {name!a}: pickled weights can run code and are never opened; convert them with "
                "`sigrl-train import`, which writes a bundle"
            )
        raise ValueError(f"it contains {name!a}, which is not part of a bundle: remove it")


def _read_verified(directory: Path, name: str, expected: str) -> bytes:
    try:
        content = (directory / name).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {name} ({error.strerror or error}): copy the bundle again") from error
    if sha256(content) != expected:
        raise ValueError(f"{name} is damaged, its SHA-256 is not the manifest's: copy the bundle again")
    return content
