import torch
from hypothesis import given
from hypothesis import strategies as st

from sigrl.model import blocks


@given(length=st.integers(0, 500), item=st.integers(1, 3000), budget=st.integers(1, 20_000))
def test_block_slices_cover_the_range_once_within_the_budget(length, item, budget):
    before = blocks.BUDGETS["cpu"]
    blocks.BUDGETS["cpu"] = budget
    try:
        slices = blocks.block_slices(length, torch.empty(item, dtype=torch.uint8))
    finally:
        blocks.BUDGETS["cpu"] = before
    assert [index for block in slices for index in range(block.start, block.stop)] == list(range(length))
    sizes = [block.stop - block.start for block in slices]
    assert max(sizes) <= max(1, budget // item)
    assert length == 0 or min(sizes) >= 1


def test_one_of_several_blocks_is_recomputed_for_its_gradient():
    calls = []

    def square(x):
        calls.append(torch.is_grad_enabled())
        return x * x

    x = torch.tensor(3.0, requires_grad=True)
    blocks.run_block(square, x, alone=False).backward()
    assert (x.grad, len(calls)) == (6.0, 2)
    calls.clear()
    blocks.run_block(square, x, alone=True).backward()
    assert len(calls) == 1
    with torch.no_grad():
        blocks.run_block(square, x, alone=False)
    assert len(calls) == 2
