"""Shared by the tests of the model: one thread, a fixed seed, a probe of what is allocated, and bundles."""

import weakref
from functools import cache

import pytest
import torch
from engine_bundles import share_exports, write_bundle
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model import blocks
from model.bundle_files import write_files
from training.tasks import export


class Allocations(TorchDispatchMode):
    """Counts the bytes of tensors that operators make while this is entered, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.peak = self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, _types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self._live += size
        self.largest = max(self.largest, size)
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


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
def make_exported(make, tmp_path_factory):
    """The same with ONNX files."""
    with pytest.MonkeyPatch.context() as patch:
        share_exports(patch, export)

        @cache
        def make_exported(name):
            directory = tmp_path_factory.mktemp("exported") / name
            write_files(directory, export.export(make(name), lambda *_: None))
            return directory

        yield make_exported
