"""The same image tower on other runtimes: ONNX Runtime, and OpenVINO as an external reference."""

from pathlib import Path

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from benchmarks.measuring import Function
from benchmarks.subjects import vit_description
from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.bundle_files import write_files
from sigrl.model.processors import available_processors
from sigrl.training.bundles.export import export


def outside_towers(model: TaggingModel, pixel_values: torch.Tensor, scratch: Path) -> dict[str, Function]:
    """`model` is `vit_model("context")`, `pixel_values` [B, 3, 224, 224]; files are written to `scratch`."""
    save_bundle(scratch / "tower", vit_description("context"), model.state_dict())
    write_files(scratch / "exported", export(scratch / "tower", lambda *_: None))
    graph = scratch / "exported" / "image_tower.onnx"
    # The graph's weights are float16 behind a cast; the quantiser wants them as they are multiplied.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(scratch / "tower-folded.onnx")
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    quantized = scratch / "tower-int8.onnx"
    folded = options.optimized_model_filepath
    quantize_dynamic(folded, quantized, ["MatMul", "Gemm"], weight_type=QuantType.QInt8)
    pixels = {"pixel_values": pixel_values.numpy()}
    towers: dict[str, Function] = {}
    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = available_processors()
    for name, path in (("float32", graph), ("dynamic int8", quantized)):
        session = onnxruntime.InferenceSession(path, threads, providers=["CPUExecutionProvider"])
        towers[f"ONNX Runtime, {name}"] = lambda session=session: session.run(None, pixels)
    try:
        import openvino
    except ImportError:
        return towers
    core = openvino.Core()
    for name in ("f32", "bf16"):
        how = {"INFERENCE_PRECISION_HINT": name, "INFERENCE_NUM_THREADS": available_processors()}
        compiled = core.compile_model(graph, "CPU", how)
        towers[f"OpenVINO, {name}"] = lambda compiled=compiled: compiled(pixels)
    return towers
