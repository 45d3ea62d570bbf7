"""Kernels for `model.kernels.triton_steps`: a program matches some labels with the patches of a photograph,
for one block of columns of the result. Nothing of the size of patches times labels leaves the chip.

Logits are computed transposed, columns times patches. The weight and the matched block then both lie as the
matrix units read them, and the softmax over patches runs within one thread or four neighbouring ones.

All block sizes are powers of two. Those of columns divide D, so only patches and labels have a remainder.
"""

# ruff: noqa: RUF005  Triton cannot unpack tuples, so they are appended with a sum.

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _tanh(values: tl.tensor, fast: tl.constexpr) -> tl.tensor:
    # The softmax of W tanh z equals that of 2 W sigmoid 2z, because W·1 cancels. But bfloat16 rounds a small
    # tanh by 2**-9 of its own size and a sigmoid near 0.5 by 2**-9 whatever its distance from 0.5, and
    # sigmoid costs two special functions. This single instruction has an error of 2**-11 of the result.
    if fast:
        result = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [values], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        result = 2 * tl.sigmoid(2 * values) - 1
    return result


@triton.jit
def _zeros(rows: tl.constexpr, columns: tl.constexpr) -> tl.tensor:
    return tl.zeros([rows, columns], tl.float32)


@triton.jit
def decouple_kernel(
    tokens: tl.tensor,  # [B, P, D], operands of the products
    values: tl.tensor,  # [B, P, D], the averaged values: the same tokens in full precision
    labels: tl.tensor,  # [C, D]
    weight: tl.tensor,  # [D, D]
    decoupled: tl.tensor,  # [B, C, D], the result
    patch_count: tl.int32,
    label_count: tl.int32,
    dim: tl.constexpr,
    block_e: tl.constexpr,
    block_k: tl.constexpr,
    block_p: tl.constexpr,
    block_c: tl.constexpr,
    fast: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """One program: `block_c` labels, `block_e` columns, blocks of `block_p` patches in a running softmax."""
    c = tl.program_id(0) * block_c + tl.arange(0, block_c)
    e = tl.program_id(1) * block_e + tl.arange(0, block_e)
    image = tl.program_id(2).to(tl.int64)
    tokens += image * patch_count * dim
    values += image * patch_count * dim
    decoupled += image * label_count * dim
    highest = tl.full([block_e, block_c], float("-inf"), tl.float32)
    total = _zeros(block_e, block_c)
    weighted = _zeros(block_e, block_c)
    for start in range(0, patch_count, block_p):
        p = start + tl.arange(0, block_p)
        logits = _zeros(block_e, block_p * block_c)
        for first in range(0, dim, block_k):
            k = first + tl.arange(0, block_k)
            weight_block = tl.load(weight + e[:, None] * dim + k[None, :])
            # Loaded with three dimensions, because otherwise a thread does not hold and store adjacent
            # columns at once.
            token = tl.load(
                tokens + p[:, None, None] * dim + k[None, None, :], p[:, None, None] < patch_count, 0.0
            )
            label = tl.load(
                labels + c[None, :, None] * dim + k[None, None, :], c[None, :, None] < label_count, 0.0
            )
            matched = _tanh(token.to(tl.float32) * label.to(tl.float32), fast).to(weight_block.dtype)
            matched = tl.reshape(matched, [block_p * block_c, block_k])
            logits = tl.dot(weight_block, tl.trans(matched), logits, input_precision=precision)
        # With 8 labels per block and the labels innermost, a thread holds every patch of its labels.
        attended = tl.reshape(logits, [block_e, block_p, block_c])
        attended = tl.where((p < patch_count)[None, :, None], attended, float("-inf"))
        higher = tl.maximum(highest, tl.max(attended, 1))
        shrink = tl.exp2((highest - higher) * LOG2_E)
        attended = tl.exp2(attended * LOG2_E - (higher * LOG2_E)[:, None, :])
        value = tl.load(values + p[None, :] * dim + e[:, None], p[None, :] < patch_count, 0.0)
        total = total * shrink + tl.sum(attended, 1)
        weighted = weighted * shrink + tl.sum(attended * value.to(tl.float32)[:, :, None], 1)
        highest = higher
    tl.store(decoupled + c[None, :] * dim + e[:, None], weighted / total, c[None, :] < label_count)


@triton.jit
def gate_kernel(
    tokens: tl.tensor,  # [B, P, D]
    queries: tl.tensor,  # [B, C, D]
    weight: tl.tensor,  # [D, D]
    partial_gates: tl.tensor,  # [groups, B, P, D], the result, to be summed over the groups
    patch_count: tl.int32,
    label_count: tl.int32,
    dim: tl.constexpr,
    block_e: tl.constexpr,
    block_k: tl.constexpr,
    pieces: tl.constexpr,
    fast: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """One program: a group of labels one after the other, `block_e` columns, all patches at once.

    The patches are split into `pieces`, because a single power of two would compute 256 for 196. A group's
    attention is summed in registers, in the order of the labels.
    """
    group = tl.program_id(0)
    groups = tl.num_programs(0)
    e = tl.program_id(1) * block_e + tl.arange(0, block_e)
    image = tl.program_id(2).to(tl.int64)
    tokens += image * patch_count * dim
    queries += image * label_count * dim
    p = ()
    gates = ()
    start = 0
    for i in tl.static_range(len(pieces)):
        p = p + (start + tl.arange(0, pieces[i]),)
        gates = gates + (_zeros(block_e, pieces[i]),)
        start += pieces[i]
    for c in range(group * label_count // groups, (group + 1) * label_count // groups):
        logits = ()
        for i in tl.static_range(len(pieces)):
            logits = logits + (_zeros(block_e, pieces[i]),)
        for first in range(0, dim, block_k):
            k = first + tl.arange(0, block_k)
            weight_block = tl.load(weight + e[:, None] * dim + k[None, :])
            query = tl.load(queries + c * dim + k).to(tl.float32)
            # All pieces are matched before the first product, so that they share one barrier.
            matched = ()
            for i in tl.static_range(len(pieces)):
                token = tl.load(tokens + p[i][:, None] * dim + k[None, :], p[i][:, None] < patch_count, 0.0)
                values = _tanh(token.to(tl.float32) * query[None, :], fast)
                matched = matched + (values.to(weight_block.dtype),)
            products = ()
            for i in tl.static_range(len(pieces)):
                product = tl.dot(weight_block, tl.trans(matched[i]), logits[i], input_precision=precision)
                products = products + (product,)
            logits = products
        highest = tl.full([block_e], float("-inf"), tl.float32)
        masked = ()
        for i in tl.static_range(len(pieces)):
            masked = masked + (tl.where(p[i][None, :] < patch_count, logits[i], float("-inf")),)
            highest = tl.maximum(highest, tl.max(masked[i], 1))
        total = tl.zeros([block_e], tl.float32)
        attended = ()
        for i in tl.static_range(len(pieces)):
            attended = attended + (tl.exp2(masked[i] * LOG2_E - (highest * LOG2_E)[:, None]),)
            total += tl.sum(attended[i], 1)
        sums = ()
        for i in tl.static_range(len(pieces)):
            sums = sums + (gates[i] + attended[i] * (1 / total)[:, None],)
        gates = sums
    partial_gates += (group.to(tl.int64) * tl.num_programs(2) + image) * patch_count * dim
    for i in tl.static_range(len(pieces)):
        tl.store(partial_gates + p[i][None, :] * dim + e[:, None], gates[i], p[i][None, :] < patch_count)
