"""Operations and bytes that the roofline counts."""

import numpy as np
from openvino import opset13

from benchmarks.roofline import Layer


def zeros(*shape: int) -> object:
    return opset13.constant(np.zeros(shape, np.float32))


def test_convolution_operations_and_bytes_are_counted() -> None:
    given = opset13.parameter([1, 3, 8, 8], np.float32)
    node = opset13.convolution(given, zeros(4, 3, 3, 3), [1, 1], [0, 0], [0, 0], [1, 1])
    # 6 x 6 places, 4 channels of 3 x 3 x 3 weights; a multiplication and an addition each.
    assert Layer.of(node) == Layer("convolutions", 2 * 36 * 4 * 27, 3 * 64 + 4 * 27 + 4 * 36)


def test_depthwise_convolution_operations_and_bytes_are_counted() -> None:
    given = opset13.parameter([1, 4, 8, 8], np.float32)
    node = opset13.group_convolution(given, zeros(4, 1, 1, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1])
    assert Layer.of(node) == Layer("depthwise convolutions", 2 * 16 * 4 * 9, 4 * 64 + 36 + 4 * 16)


def test_matrix_product_operations_and_bytes_are_counted() -> None:
    given = opset13.parameter([5, 7], np.float32)
    node = opset13.matmul(given, zeros(7, 2), False, False)
    assert Layer.of(node) == Layer("products", 2 * 5 * 7 * 2, 35 + 14 + 10)


def test_other_nodes_are_not_counted() -> None:
    assert Layer.of(opset13.relu(opset13.parameter([1], np.float32))) is None
