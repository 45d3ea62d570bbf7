"""The two attentions of SVFR against the reference's modules, with gradients in the small cases."""

import pytest
import torch
from torch.nn import functional

from sigrl.model import blocks, svfr

FILE = "02_svfr.npz"
BOTH_VARIANTS = [
    "B1.P4.C5.plain",
    "B1.P4.C20.sharp",
    "B1.P49.C5.sharp",
    "B1.P49.C20.plain",
    "B1.P196.C5.plain",
    "B1.P196.C20.sharp",
    "B3.P4.C5.sharp",
    "B3.P4.C20.plain",
    "B3.P49.C5.plain",
    "B3.P49.C20.sharp",
    "B3.P196.C5.sharp",
    "B3.P196.C20.plain",
]


@pytest.mark.parametrize("budget", [blocks.BUDGETS["cpu"], 2**16], ids=["whole", "chunks"])
@pytest.mark.parametrize("name", BOTH_VARIANTS)
def test_decoupling_and_reconstruction_match_the_reference(
    golden, make_head, dtype, name, budget, monkeypatch
):
    case = golden.case(FILE, name)
    monkeypatch.setitem(blocks.BUDGETS, "cpu", budget)
    weights = make_head(case["weights"], dtype).svfr
    patch_tokens = golden.recipe(case["pred_feat"]).to(dtype)
    label_embeddings = golden.array(FILE, f"{name}/label_embed").to(dtype)
    with torch.no_grad():
        decoupled = svfr.semantic_decoupling(patch_tokens, label_embeddings, weights.decoupling.weight)
        queries = weights.fusion(golden.recipe(case["label_graph_features"]).to(dtype))
        rebuilt = patch_tokens * svfr.label_gate(patch_tokens, queries, weights.reconstruction.weight)
    golden.compare(FILE, f"{name}/sda_out", decoupled)
    golden.compare(FILE, f"{name}/vfr_out", rebuilt)
    golden.compare(FILE, f"{name}/vfr_out_sum_over_patches", rebuilt.sum(1))


@pytest.mark.parametrize("budget", [blocks.BUDGETS["cpu"], 1], ids=["whole", "chunks"])
@pytest.mark.parametrize("name", ["small.B2.P6.D8.C3", "small.B3.P9.D16.C5"])
def test_gradients_match_the_reference(golden, dtype, name, budget, monkeypatch):
    golden.case(FILE, name)
    monkeypatch.setitem(blocks.BUDGETS, "cpu", budget)

    def given(array: str) -> torch.Tensor:
        return golden.array(FILE, f"{name}/{array}").to(dtype)

    def compare(array: str, ours: torch.Tensor) -> None:
        golden.compare(FILE, f"{name}/{array}", ours)

    tokens, labels = given("pred_feat").requires_grad_(), given("label_embed").requires_grad_()
    decoupling = given("w.sda.fc3.weight").requires_grad_()
    decoupled = svfr.semantic_decoupling(tokens, labels, decoupling)
    compare("sda_out", decoupled)
    gradients = torch.autograd.grad((decoupled * given("R_sda")).sum(), [tokens, labels, decoupling])
    compare("sda_grad_pred_feat", gradients[0])
    compare("sda_grad_label_embed", gradients[1])
    compare("sda_grad_w.fc3.weight", gradients[2])

    pairs, fusion = given("label_graph_features").requires_grad_(), given("w.vfr.fc1.weight").requires_grad_()
    reconstruction = given("w.vfr.fc3.weight").requires_grad_()
    rebuilt = tokens * svfr.label_gate(tokens, functional.linear(pairs, fusion), reconstruction)
    compare("vfr_out", rebuilt)
    inputs = [tokens, pairs, fusion, reconstruction]
    gradients = torch.autograd.grad((rebuilt * given("R_vfr")).sum(), inputs)
    compare("vfr_grad_pred_feat", gradients[0])
    compare("vfr_grad_label_graph_features", gradients[1])
    compare("vfr_grad_w.fc1.weight", gradients[2])
    compare("vfr_grad_w.fc3.weight", gradients[3])
