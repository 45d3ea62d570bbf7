"""What is added to a new bundle before it appears under its name: a calibration, graphs."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sigrl.model.bundle_files import MANIFEST, BundleFiles, read_files, write_files
from sigrl.model.manifest import read_manifest
from sigrl.model.unfinished import unfinished_folder
from sigrl.training.data.dataset import DataError
from sigrl.training.terminal import log_line, shown

Addition = Callable[[Path], BundleFiles]
"""Makes the files of a new bundle from the bundle in a directory."""


@contextmanager
def unfinished(output: Path) -> Iterator[Path]:
    """A directory for the first form of the bundle, on the disk of `output`. It is removed at the end, and
    those of killed runs at the beginning."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(output.parent) as folder:
        yield folder / "imported"


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


def with_graphs(bundle: Path) -> BundleFiles:
    """The bundle with its ONNX graphs. Raises as `sigrl.training.bundles.export.export` does, and DataError
    where the packages that this needs are not installed."""
    try:
        from sigrl.training.bundles.export import export
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed: pip install 'sigrl-tagger[export,onnx]' (for a GPU: export,gpu)"
        ) from error
    with shown("graphs") as show:
        return export(bundle, show)


def load_quantiser() -> Callable[[BundleFiles, Sequence[Path]], BundleFiles]:
    """`sigrl.training.bundles.int8.with_int8_tower`. Raises DataError where NNCF is not installed."""
    try:
        from sigrl.training.bundles.int8 import with_int8_tower
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed: pip install 'sigrl-tagger[export,onnx,int8]'"
        ) from error
    return with_int8_tower


def with_graphs_if_possible(bundle: Path) -> BundleFiles:
    """The bundle with its ONNX graphs. A bundle that cannot have them stays as it is, and a line says why."""
    try:
        return with_graphs(bundle)
    except DataError as error:
        log_line(f"the bundle gets no graphs, so only PyTorch can serve it: {error}")
        return read_files(bundle)


@contextmanager
def saved_with_graphs(output: Path) -> Iterator[Path]:
    """A directory for a bundle without graphs. At the end of the block the bundle appears at `output`, with
    graphs if it can have them. Raises as `finish` does."""
    with unfinished(output) as made:
        yield made
        finish(made, [with_graphs_if_possible], output)
