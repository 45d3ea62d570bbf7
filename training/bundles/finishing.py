"""What an import adds to a bundle before the bundle appears under its name."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sigrl.model.bundle_files import MANIFEST, BundleFiles, write_files
from sigrl.model.manifest import read_manifest

Addition = Callable[[Path], BundleFiles]
"""Makes the files of a new bundle from the bundle in a directory."""


@contextmanager
def unfinished(output: Path) -> Iterator[Path]:
    """A directory for the first form of the bundle, on the disk of `output`. It is removed at the end."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=output.parent) as folder:
        yield Path(folder, "imported")


def finish(bundle: Path, additions: Sequence[Addition], output: Path) -> str:
    """Applies the additions in order and moves the bundle to `output`; returns its checkpoint id. Each bundle
    is removed once the next one is written. Raises as `write_files` and the additions do."""
    for number, add in enumerate(additions):
        following = bundle.with_name(f"addition-{number}")
        write_files(following, add(bundle))
        shutil.rmtree(bundle)
        bundle = following
    _, checkpoint = read_manifest((bundle / MANIFEST).read_bytes())
    bundle.rename(output)
    return checkpoint
