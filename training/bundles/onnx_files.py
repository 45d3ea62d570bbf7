"""Exports steps to ONNX files that refer to the weights in the bundle's model.safetensors."""

import copy
import json
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from safetensors.numpy import load

from sigrl.model.manifest import WEIGHTS
from sigrl.model.storage import SCALE
from sigrl.training.backbones.towers import without_fused_transformers
from sigrl.training.bundles.onnx_graphs import Step

OPSET = 20
DYNAMIC = {"B": "photographs", "n": "block", "C": "labels", "N": "texts", "L": "tokens"}
"""The graphs' names for the dimensions whose size may change with every call."""


def to_onnx(step: Step, sizes: Mapping[str, int], weights: bytes | None = None) -> bytes:
    """The content of the step's ONNX file, float32, in opset `OPSET`.

    `sizes` gives the size of each dimension that the step's inputs name; a dynamic one must be at least 2.
    `weights` is the content of a bundle's model.safetensors. The ONNX file refers to each weight that is
    stored there under the same name, as external data in its stored type, also half precision or int8; other
    constants are in the ONNX file itself. Raises ValueError if a stored weight has different values.
    """
    model = copy.deepcopy(trace(step, sizes))
    if weights is not None:
        _refer(model, weights)
    content: bytes = model.SerializeToString()
    return content


def trace(step: Step, sizes: Mapping[str, int]) -> ModelProto:
    """The step as a graph that contains its weights, in float32."""
    names, shapes = [name.split()[0] for name in step.inputs], [name.split()[1] for name in step.inputs]
    examples = [torch.ones([sizes[letter] for letter in shape]) for shape in shapes]
    if names == ["token_ids"]:
        examples = [ones.long() for ones in examples]
    dynamic = [
        {place: DYNAMIC[letter] for place, letter in enumerate(shape) if letter in DYNAMIC}
        for shape in shapes
    ]
    with without_fused_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            step.eval(),
            tuple(examples),
            input_names=names,
            output_names=list(step.outputs),
            dynamic_shapes=tuple(dynamic),
            opset_version=OPSET,
            dynamo=True,
            # ONNX Runtime optimises for its machine anyway; here it would fold stored weights.
            optimize=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_origin(model)
    onnx.checker.check_model(model)
    return model


def _refer(model: ModelProto, weights: bytes) -> None:
    """Replaces the graph's weights with references into the safetensors file `weights`."""
    stored, offsets = load(weights), _offsets(weights)
    kept: list[TensorProto] = []
    nodes: list[NodeProto] = []
    for tensor in model.graph.initializer:
        name = tensor.name
        small = stored.get(name)
        if small is None or not small.ndim:
            kept.append(tensor)
            continue
        restored = small.astype(np.float32)
        if small.dtype == np.float32:
            kept.append(_reference(name, small, offsets[name]))
        else:
            whole = f"{name}.float32" if small.dtype == np.int8 else name
            kept.append(_reference(f"{name}.stored", small, offsets[name]))
            nodes.append(helper.make_node("Cast", [f"{name}.stored"], [whole], to=TensorProto.FLOAT))
        if small.dtype == np.int8:
            scale = stored[name + SCALE][:, None]
            restored = restored * scale
            kept.append(_reference(f"{name}.scale", scale, offsets[name + SCALE]))
            nodes.append(helper.make_node("Mul", [whole, f"{name}.scale"], [name]))
        if not np.array_equal(restored, numpy_helper.to_array(tensor)):
            raise ValueError(f"the weight `{name}` is not the one that the bundle stores")
    nodes.extend(model.graph.node)
    for field_, values in ((model.graph.initializer, kept), (model.graph.node, nodes)):
        del field_[:]
        field_.extend(values)


def _offsets(weights: bytes) -> dict[str, int]:
    """The offset of each tensor in a safetensors file, in bytes."""
    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    return {
        name: 8 + length + entry["data_offsets"][0]
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _reference(name: str, array: np.ndarray, offset: int) -> TensorProto:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _forget_origin(model: ModelProto) -> None:
    """Drops each node's source locations, which are paths on this machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
