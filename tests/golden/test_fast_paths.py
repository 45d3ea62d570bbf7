"""Every way to compute SVFR's attentions, and GMC's, against the reference's numbers; and whole scores."""

import importlib.util
import shutil
from types import SimpleNamespace

import onnxruntime
import pytest
import torch

from sigrl.model.gmc import fused_pair_logits
from sigrl.model.kernels.cpu_steps import CpuSteps
from sigrl.training.bundles.onnx_files import to_onnx
from sigrl.training.bundles.onnx_graphs import Decouple, Gate, GraphHidden, GraphNodes, GraphOutput

# One for all tests: a compiled path compiles once for each new shape.
PATHS = {
    (precision, compiled): CpuSteps(precision, compiled=compiled)
    for precision in ("float32", "bfloat16", "int8")
    for compiled in (False, True)
}
ROUNDING = {"float32": None, "bfloat16": 0.03, "int8": 0.06}
"""Allowed, as a part of the largest value; None: what float32 is allowed."""


without_triton = importlib.util.find_spec("triton") is None
without_compiler = shutil.which("g++") is None


@pytest.fixture(params=PATHS, ids=lambda path: f"{path[0]}-{'compiled' if path[1] else 'eager'}")
def steps(request) -> CpuSteps:
    if request.param[1] and without_compiler:
        pytest.skip("needs a C++ compiler")
    return PATHS[request.param]


@pytest.mark.parametrize("name", ["B1.P196.C5.plain", "B1.P196.C20.sharp"])
@torch.no_grad()
def test_svfr_steps_match_the_reference(golden, make_head, name, steps):
    file = "02_svfr.npz"
    case = golden.case(file, name)
    weights = make_head(case["weights"], torch.float32).svfr
    patch_tokens = golden.recipe(case["pred_feat"])
    label_embeddings = golden.array(file, f"{name}/label_embed")
    decoupled = steps.decouple(patch_tokens, label_embeddings, weights.decoupling.weight)
    golden.compare(file, f"{name}/sda_out", decoupled, ROUNDING[steps.precision])
    queries = weights.fusion(golden.recipe(case["label_graph_features"]))
    rebuilt = patch_tokens * steps.gate(patch_tokens, queries, weights.reconstruction.weight)
    golden.compare(file, f"{name}/vfr_out", rebuilt, ROUNDING[steps.precision])


@pytest.mark.parametrize("name", ["A.P16.plain", "A.P16.sharp", "B.P49.sharp"])
@torch.no_grad()
def test_head_scores_match_the_reference(golden, encode, make_head, name, steps):
    file = "03_clipvit.npz"
    case = golden.case(file, name)
    head = make_head(case["weights"], torch.float32)
    head.svfr.steps = steps
    image_features, _ = encode(case, torch.float32)
    label_features = head.label_features(golden.array(file, f"{name}/label_embed"))
    score = head.score(image_features, label_features)
    golden.compare(file, f"{name}/topk16.normTrue/score", score, ROUNDING[steps.precision])


@pytest.mark.skipif(without_triton, reason="needs triton")
@torch.no_grad()
def test_triton_kernels_match_the_reference(golden, encode, make_head):
    from sigrl.model.kernels.triton_steps import TritonSteps

    file, name = "03_clipvit.npz", "A.P16.sharp"
    case = golden.case(file, name)
    head = make_head(case["weights"], torch.float32)
    head.svfr.steps = TritonSteps(torch.float32)
    image_features, _ = encode(case, torch.float32)
    label_features = head.label_features(golden.array(file, f"{name}/label_embed"))
    golden.compare(file, f"{name}/SD_label", head.reconstruct(image_features, label_features))
    golden.compare(file, f"{name}/topk16.normTrue/score", head.score(image_features, label_features))


@torch.no_grad()
def test_onnx_graphs_match_the_reference(golden, make_head):
    file, name = "02_svfr.npz", "B1.P196.C20.sharp"
    case = golden.case(file, name)
    head = make_head(case["weights"], torch.float32)
    run = _onnx_graphs(head, {"1": 1, "B": 2, "n": 3, "C": 5, "P": 196, "D": 512, "H": 4, "F": 32})
    patch_tokens = golden.recipe(case["pred_feat"])
    (decoupled,) = run(Decouple, patch_tokens, golden.array(file, f"{name}/label_embed"))
    golden.compare(file, f"{name}/sda_out", decoupled)
    queries = head.svfr.fusion(golden.recipe(case["label_graph_features"]))
    (gate,) = run(Gate, patch_tokens, queries)
    golden.compare(file, f"{name}/vfr_out", patch_tokens * gate)

    file, name = "01_gmc.npz", "C20.sharp"
    embeddings = golden.array(file, "C20/label_embed") * golden.case(file, name)["label_norm"]
    (nodes,) = run(GraphNodes, embeddings)
    (nodes,) = run(GraphHidden, nodes, nodes)
    (refined,) = run(GraphOutput, nodes, nodes)
    golden.compare(file, f"{name}/out", refined)


def _onnx_graphs(head, sizes):
    """(step, *inputs) -> outputs of the step's graph on ONNX Runtime."""

    def run(make_step, *inputs):
        content = to_onnx(make_step(SimpleNamespace(head=head)), sizes)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]
        arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, arrays)]

    return run


@pytest.mark.skipif(without_compiler, reason="needs a C++ compiler")
@torch.no_grad()
def test_fused_label_graph_matches_the_reference(golden, make_head):
    fused = torch.compile(fused_pair_logits, dynamic=True)
    for name in ("C7.plain", "C20.sharp"):
        case = golden.case("01_gmc.npz", name)
        head = make_head(name.split(".")[1], torch.float32)
        head.graph.hidden.compiled_logits = head.graph.output.compiled_logits = fused
        embeddings = golden.array("01_gmc.npz", f"{name.split('.')[0]}/label_embed") * case["label_norm"]
        golden.compare("01_gmc.npz", f"{name}/out", head.label_features(embeddings).refined)
