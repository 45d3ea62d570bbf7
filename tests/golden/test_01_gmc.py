"""GMC against the reference's GATv2."""

import pytest
import torch

from sigrl.model import blocks

FILE = "01_gmc.npz"


@pytest.mark.parametrize("budget", [blocks.BUDGETS["cpu"], 2**17], ids=["whole", "blocks"])
@pytest.mark.parametrize("variant", ["plain", "sharp"])
@pytest.mark.parametrize("labels", ["C7", "C20", "C81"])
def test_label_graph_matches_the_reference(golden, make_head, dtype, labels, variant, budget, monkeypatch):
    name = f"{labels}.{variant}"
    case = golden.case(FILE, name)
    monkeypatch.setitem(blocks.BUDGETS, "cpu", budget)
    embeddings = golden.array(FILE, f"{labels}/label_embed").to(dtype) * case["label_norm"]
    with torch.no_grad():
        refined = make_head(variant, dtype).label_features(embeddings).refined
    golden.compare(FILE, f"{name}/out", refined)
