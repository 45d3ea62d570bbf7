"""GMC in blocks against its plain form, its gradients, its invariances and its memory."""

import plain_forms
import pytest
import torch
from torch.nn import functional

from sigrl.model import gmc
from sigrl.model.gmc import GraphAttention, LabelGraph

WHOLE, ONE_ROW = 2**24, 1


@pytest.fixture
def graph():
    return LabelGraph(12, heads=2, head_features=3).double().eval()


@pytest.fixture
def labels():
    return 3 * torch.randn(7, 12, dtype=torch.float64)


@pytest.fixture
def context():
    return 3 * torch.randn(5, 12, dtype=torch.float64)


@pytest.mark.parametrize("budget", [WHOLE, ONE_ROW])
@pytest.mark.parametrize("with_context", [False, True])
def test_blockwise_outputs_and_gradients_match_the_plain_form(
    graph, labels, context, with_context, budget, set_budget
):
    set_budget(budget)
    inputs = [labels.requires_grad_(), *([context.requires_grad_()] if with_context else [])]
    cotangent = torch.randn_like(labels)
    differentiated = [*inputs, *graph.parameters()]
    ours, plain = graph(*inputs), plain_forms.label_graph(graph, *inputs)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-13)
    gradients = torch.autograd.grad((ours * cotangent).sum(), differentiated)
    expected = torch.autograd.grad((plain * cotangent).sum(), differentiated)
    torch.testing.assert_close(gradients, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("with_context", [False, True])
def test_gradients_match_finite_differences(graph, labels, context, with_context, set_budget):
    set_budget(ONE_ROW)
    inputs = [labels[:3], context[:2]] if with_context else [labels[:3]]
    assert torch.autograd.gradcheck(graph, [features.detach().requires_grad_() for features in inputs])


def test_published_form_is_equivariant_to_label_order(graph, labels):
    order = torch.randperm(len(labels))
    torch.testing.assert_close(graph(labels[order]), graph(labels)[order], rtol=0, atol=1e-13)


def test_published_form_depends_on_other_labels(graph, labels):
    assert (graph(labels)[:4] - graph(labels[:4])).abs().max() > 1e-3


def test_with_context_a_label_depends_only_on_itself_and_the_context(graph, labels, context):
    whole = graph(labels, context)
    chosen = torch.tensor([5, 0, 3])
    torch.testing.assert_close(graph(labels[chosen], context), whole[chosen], rtol=0, atol=1e-13)
    assert (graph(labels, context + 1) - whole).abs().max() > 1e-3


def test_context_features_do_not_depend_on_requested_labels(graph, labels, context):
    """A label's neighbours are the context's own hidden features, whatever labels are asked for."""
    hidden_context = functional.elu(graph.hidden(context))
    hidden_label = functional.elu(graph.hidden(labels[:1], context))
    torch.testing.assert_close(graph(labels[:1], context), graph.output(hidden_label, hidden_context))


def test_attention_heads_share_one_vector_and_one_linear_map():
    layer = GraphAttention(12, 8, heads=4)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "attention": (2,),
        "linear.weight": (8, 12),
    }
    with pytest.raises(ValueError, match="8 output features"):
        GraphAttention(12, 8, heads=3)


def test_dropout_is_applied_in_training_only(graph, labels, context):
    torch.testing.assert_close(graph(labels, context), graph(labels, context), rtol=0, atol=0)
    graph.train()
    assert not torch.equal(graph(labels, context), graph(labels, context))
    still = LabelGraph(12, dropout=0.0).double()
    assert torch.equal(still(labels), still(labels))


def test_recomputed_blocks_use_the_same_dropout_mask(graph, labels, set_budget, monkeypatch):
    set_budget(ONE_ROW)
    graph.train()

    def gradients():
        torch.manual_seed(1)
        return torch.autograd.grad(graph(labels).square().sum(), list(graph.parameters()))

    recomputed = gradients()
    monkeypatch.setattr(gmc, "run_block", lambda function, *arguments, **_: function(*arguments))
    torch.testing.assert_close(recomputed, gradients(), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("label_count", "training"), [(1500, False), (500, True)])
def test_peak_memory_stays_below_all_label_pairs(label_count, training, set_budget, allocations):
    budget, embed_dim = 2**20, 32
    set_budget(budget)
    graph = LabelGraph(embed_dim).train(training)
    labels = torch.randn(label_count, embed_dim, requires_grad=training)
    with torch.set_grad_enabled(training), allocations:
        refined = graph(labels)
        if training:
            refined.sum().backward()
    features = label_count * 128 * 4
    assert allocations.largest <= max(budget, features)
    assert allocations.peak <= 6 * budget + 10 * features
    assert allocations.peak < label_count**2 * embed_dim * 4 / 3
