"""In any order of operations, exactly one checkpoint is active and none with a handle is removed."""

import time
from contextlib import suppress

import sample_images as samples
from checkpoints.fake_bundles import fake_runtime
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sigrl.service.checkpoints.table import Handle
from sigrl.service.errors import CheckpointNotFoundError, CheckpointStateError
from sigrl.service.schemas.checkpoints import GONE, ON_THE_WAY, State

LIMIT = 3
NAMES = st.sampled_from(["first", "a", "b", "c", "huge"])


class Checkpoints(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runtime = fake_runtime(checkpoints_in_memory=LIMIT)
        self.table = self.runtime.table
        self.held: list[tuple[Handle, str]] = []
        self.generation = 0

    @rule(name=NAMES)
    def load(self, name: str) -> None:
        try:
            self.runtime.load(name)
        except CheckpointStateError:
            assert self.in_memory() >= LIMIT
        self.wait()

    @rule(name=NAMES)
    def activate(self, name: str) -> None:
        before = self.table.active
        try:
            self.runtime.activate(f"sha256:{name}")
        except (CheckpointStateError, CheckpointNotFoundError):
            assert self.table.active is before
        else:
            assert self.table.active.id == f"sha256:{name}"
            assert before is self.table.active or before is self.table.previous

    @rule()
    def roll_back(self) -> None:
        wanted = self.table.previous
        try:
            self.runtime.rollback()
        except CheckpointStateError:
            assert wanted is None
        else:
            assert self.table.active is wanted

    @rule(name=NAMES)
    def unload(self, name: str) -> None:
        with suppress(CheckpointStateError, CheckpointNotFoundError):
            self.runtime.unload(f"sha256:{name}")
        self.wait()

    @rule(name=NAMES)
    def shadow(self, name: str) -> None:
        with suppress(CheckpointStateError, CheckpointNotFoundError):
            self.runtime.shadow(f"sha256:{name}", 1.0)

    @rule()
    def acquire(self) -> None:
        handle = self.runtime.acquire()
        assert handle.tagger.engine.checkpoint_id == self.table.active.id
        self.held.append((handle, self.table.active.id))

    @rule(number=st.integers(0, 9))
    def release(self, number: int) -> None:
        if self.held:
            handle, checkpoint = self.held.pop(number % len(self.held))
            assert handle.tagger.tag(samples.jpeg()).checkpoint == checkpoint
            handle.release()
            handle.release()
        self.wait()

    @invariant()
    def one_is_active(self) -> None:
        infos = self.table.infos()
        assert [info.id for info in infos if info.state is State.ACTIVE] == [self.table.active.id]
        assert sum(info.state is State.SHADOW for info in infos) <= 1
        assert self.in_memory() <= LIMIT

    @invariant()
    def what_is_held_is_in_memory_and_what_is_gone_is_not(self) -> None:
        for info in self.table.infos():
            checkpoint = self.table.get(info.id)
            assert info.requests == sum(held == info.id for _, held in self.held)
            assert (checkpoint.tagger is None) == (info.state in GONE | ON_THE_WAY)
        assert all(handle.tagger.engine.checkpoint_id == held for handle, held in self.held)

    @invariant()
    def the_generation_only_grows(self) -> None:
        assert self.runtime.generation >= self.generation
        self.generation = self.runtime.generation

    def teardown(self) -> None:
        for handle, _ in self.held:
            handle.release()
        self.wait()
        self.runtime.close()
        everything = [self.table.get(info.id) for info in self.table.infos()]
        assert [each for each in everything if each.tagger is not None] == [self.table.active]

    def in_memory(self) -> int:
        return sum(self.table.get(info.id).tagger is not None for info in self.table.infos())

    def wait(self) -> None:
        """Waits until the loader is idle or has no room."""
        end = time.monotonic() + 60
        while any(info.state in ON_THE_WAY for info in self.table.infos()) and self.in_memory() < LIMIT:
            assert time.monotonic() < end
            time.sleep(0.001)


Checkpoints.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestAnyHistory = Checkpoints.TestCase
