"""Steps to ONNX files, with the weights as the bundle stores them."""

import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sigrl.model.storage import SCALE
from sigrl.training.backbones.towers import without_fused_transformers
from sigrl.training.bundles.onnx_graphs import Step

OPSET = 20
DYNAMIC = {"B": "photographs", "n": "block", "C": "labels", "N": "texts", "L": "tokens"}
"""What the graphs call the dimensions that have another size in every call."""


def to_onnx(
    step: Step, sizes: Mapping[str, int], stored: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> bytes:
    """The content of the step's ONNX file, float32, in opset `OPSET`.

    `sizes` gives the size of each dimension that the step's inputs name, at least two of the dynamic ones. A
    weight that `stored` holds under the same name, as the bundle's file does, is kept in that form: half or a
    quarter of the size, and the same numbers when the graph is loaded.
    """
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
            # ONNX Runtime does it anyway, for the machine at hand; done here, it would melt stored weights.
            optimize=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _store_compactly(model, stored)
    _forget_origin(model)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _store_compactly(model: ModelProto, stored: Mapping[str, np.ndarray]) -> None:
    kept: list[TensorProto] = []
    nodes: list[NodeProto] = []
    for tensor in model.graph.initializer:
        name = tensor.name
        small = stored.get(name)
        if small is None or small.dtype == np.float32 or not small.ndim:
            kept.append(tensor)
            continue
        whole = f"{name}.float32" if small.dtype == np.int8 else name
        restored = small.astype(np.float32)
        kept.append(numpy_helper.from_array(small, f"{name}.stored"))
        nodes.append(helper.make_node("Cast", [f"{name}.stored"], [whole], to=TensorProto.FLOAT))
        if small.dtype == np.int8:
            scale = stored[name + SCALE][:, None]
            restored = restored * scale
            kept.append(numpy_helper.from_array(scale, f"{name}.scale"))
            nodes.append(helper.make_node("Mul", [whole, f"{name}.scale"], [name]))
        if not np.array_equal(restored, numpy_helper.to_array(tensor)):
            raise ValueError(f"the weight `{name}` is not the one that the bundle stores")
    nodes.extend(model.graph.node)
    for field_, values in ((model.graph.initializer, kept), (model.graph.node, nodes)):
        del field_[:]
        field_.extend(values)


def _forget_origin(model: ModelProto) -> None:
    """Drops the lines of source code that each node came from: paths of this machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
