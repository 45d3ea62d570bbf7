"""Shared by the tests of the model: one thread, a fixed seed, a probe of what is allocated, and bundles."""

from functools import cache

import pytest
import torch
from engine_bundles import share_exports, write_bundle, write_calibrated

from benchmarks.measuring import Allocations
from sigrl.model import blocks
from sigrl.model.bundle_files import write_files
from sigrl.training.bundles import export


@pytest.fixture
def allocations():
    return Allocations()


@pytest.fixture
def set_budget(monkeypatch):
    """Sets the bytes of a block; `1` means one label a block."""
    return lambda budget: monkeypatch.setitem(blocks.BUDGETS, "cpu", budget)


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make(tmp_path_factory, tiny_description, tokenizer_definition):
    """Name of one of `BUNDLES` -> its directory. Shared by all tests: do not change it."""

    @cache
    def make(name):
        directory = tmp_path_factory.mktemp("bundles") / name
        write_bundle(name, directory, tiny_description, tokenizer_definition)
        return directory

    return make


@pytest.fixture(scope="session")
def make_calibrated(make, tmp_path_factory):
    """The same with a background set."""

    @cache
    def make_calibrated(name):
        directory = tmp_path_factory.mktemp("calibrated") / name
        write_calibrated(make(name), directory)
        return directory

    return make_calibrated


@pytest.fixture(scope="session")
def make_exported(make, make_calibrated, tmp_path_factory):
    """The same with ONNX files; "calibrated-" before a name stands for `make_calibrated`."""
    with pytest.MonkeyPatch.context() as patch:
        share_exports(patch)

        @cache
        def make_exported(name):
            directory = tmp_path_factory.mktemp("exported") / name
            plain = name.removeprefix("calibrated-")
            source = make(name) if plain == name else make_calibrated(plain)
            write_files(directory, export.export(source, lambda *_: None))
            return directory

        yield make_exported
