"""The context form, computed in NumPy from the formulas of docs/method.md alone, in float64."""

import numpy as np
import pytest
import torch

from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import SigRLHead

D, K, C, P, B, TOP_K = 24, 5, 7, 9, 3, 4
HEADS, HEAD_NUMBERS = 4, 32
Weights = dict[str, np.ndarray]


def unit_rms(v: np.ndarray) -> np.ndarray:
    return v * np.sqrt(v.shape[-1]) / np.linalg.norm(v, axis=-1, keepdims=True)


def softmax(logits: np.ndarray, axis: int = 0) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def elu(v: np.ndarray) -> np.ndarray:
    return np.where(v > 0, v, np.expm1(v))


def attend(v: np.ndarray, to: list[np.ndarray], w: np.ndarray, a: np.ndarray, heads: int) -> np.ndarray:
    """att(v; S): head by head."""
    out = []
    for w_head in np.split(w, heads):
        mapped = np.array([w_head @ s for s in to])
        sums = w_head @ v + mapped
        alpha = softmax(np.where(sums > 0, sums, 0.2 * sums) @ a)
        out.append(alpha @ mapped)
    return np.concatenate(out)


def refine(label: np.ndarray, context: list[np.ndarray], weights: Weights) -> np.ndarray:
    w1, a1, w2, a2 = (weights[f"graph.{one}"] for one in GRAPH)
    hidden_context = [elu(attend(c, context, w1, a1, HEADS)) for c in context]
    hidden = elu(attend(label, [*context, label], w1, a1, HEADS))
    return label + weights["gamma"] * attend(hidden, [*hidden_context, hidden], w2, a2, 1)


GRAPH = ("hidden.linear.weight", "hidden.attention", "output.linear.weight", "output.attention")


def rebuild(x: np.ndarray, context: list[np.ndarray], weights: Weights) -> np.ndarray:
    """SVFR: [P, D] -> [P, D]."""
    c = np.array(context)
    m = np.array([(softmax(np.tanh(x * c_k) @ weights["svfr.decoupling.weight"].T) * x).sum(0) for c_k in c])
    q = np.maximum(m.T @ c, 0)
    lengths = np.linalg.norm(q, axis=1, keepdims=True)
    q = np.divide(q, lengths, out=np.zeros_like(q), where=lengths > 0)
    refined = np.array([refine(c_k, context, weights) for c_k in context])
    o = np.concatenate([m @ q, refined], axis=1) @ weights["svfr.fusion.weight"].T
    gate = sum(softmax(np.tanh(x * o_k) @ weights["svfr.reconstruction.weight"].T) for o_k in o)
    return x * (len(x) / len(c)) * gate


def score(g: np.ndarray, patches: np.ndarray, label: np.ndarray, weights: Weights) -> float:
    def cosines(v: np.ndarray) -> np.ndarray:
        return v @ refined / np.linalg.norm(v, axis=-1) / np.linalg.norm(refined)

    context = list(unit_rms(weights["context_label_embeddings"]))
    refined = refine(unit_rms(label), context, weights)
    local = np.sort(cosines(rebuild(unit_rms(patches), context, weights)))[-TOP_K:].mean()
    global_scale, local_scale = np.exp(weights["log_global_scale"]), np.exp(weights["log_local_scale"])
    return float(global_scale * cosines(g) + local_scale * local + weights["bias"])


@pytest.fixture
def head() -> SigRLHead:
    """Random weights, sharp enough that every part has a say."""
    torch.manual_seed(0)
    names = tuple(f"label {number}" for number in range(K))
    head = SigRLHead(HeadConfig(form="context", top_k=TOP_K, context_labels=names), D).double().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    head.set_context(3 * torch.randn(K, D, dtype=torch.float64))
    return head


def test_documented_formulas_give_the_scores_of_the_code(head: SigRLHead) -> None:
    images, patches = torch.randn(B, D).double(), torch.randn(B, P, D).double()
    # Two context labels are asked for too: they are refined like any other label.
    labels = torch.cat([5 * torch.randn(C, D).double(), head.context_label_embeddings[:2]])
    with torch.no_grad():
        features = ImageFeatures(images, patches, (3, 3))
        ours = head.score(features, head.label_features(labels)).numpy()
    weights = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    theirs = [
        [score(g.numpy(), x.numpy(), h.numpy(), weights) for h in labels]
        for g, x in zip(images, patches, strict=True)
    ]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "part", ["gamma", "svfr.reconstruction.weight", "svfr.fusion.weight", "graph.output.attention"]
)
def test_zeroing_any_weight_changes_the_formula_score(head: SigRLHead, part: str) -> None:
    """A formula that left it out would be noticed."""
    weights = {name: tensor.numpy().copy() for name, tensor in head.state_dict().items()}
    g, patches, label = (torch.randn(*shape).double().numpy() for shape in ((D,), (P, D), (D,)))
    before = score(g, patches, label, weights)
    weights[part] = weights[part] * 0
    assert abs(score(g, patches, label, weights) - before) > 1e-4
