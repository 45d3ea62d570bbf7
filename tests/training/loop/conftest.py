"""Each test counts as a program of its own."""

import pytest
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def _fresh_accelerator():
    """A program has one accelerator for its lifetime."""
    yield
    AcceleratorState._reset_state(True)
