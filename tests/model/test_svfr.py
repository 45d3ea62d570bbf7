"""SVFR in chunks of labels against its plain form, its gradients, its invariances and its memory."""

import plain_forms
import pytest
import torch

from benchmarks.measuring import SavedBytes
from sigrl.model.svfr import SemanticFeatureReconstruction, affinity, label_gate, semantic_decoupling

WHOLE, ONE_LABEL = 2**24, 1
B, P, C, D = 2, 5, 4, 6


@pytest.fixture
def svfr():
    module = SemanticFeatureReconstruction(D).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(4)
    return module


@pytest.fixture
def inputs():
    """Patch tokens, labels, refined labels; large enough that no softmax is flat."""
    shapes = [(B, P, D), (C, D), (C, D)]
    return [2 * torch.randn(shape, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("budget", [WHOLE, ONE_LABEL])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_chunked_outputs_and_gradients_match_the_plain_form(svfr, inputs, reduction, budget, set_budget):
    set_budget(budget)
    differentiated = [*(tensor.requires_grad_() for tensor in inputs), *svfr.parameters()]
    ours, plain = svfr(*inputs, reduction), plain_forms.reconstruction(svfr, *inputs, reduction)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(ours)
    gradients = torch.autograd.grad((ours * cotangent).sum(), differentiated)
    expected = torch.autograd.grad((plain * cotangent).sum(), differentiated)
    torch.testing.assert_close(gradients, expected, rtol=0, atol=1e-10)


def test_gradients_match_finite_differences(svfr, inputs, set_budget):
    set_budget(ONE_LABEL)
    assert torch.autograd.gradcheck(svfr, [tensor.requires_grad_() for tensor in inputs])


def test_biases_inside_the_softmax_have_no_effect(svfr, inputs):
    biased = plain_forms.reconstruction(svfr, *inputs, "sum", bias=torch.randn(D, dtype=torch.float64))
    torch.testing.assert_close(svfr(*inputs), biased, rtol=0, atol=1e-12)


def test_affinity_has_unit_rows_and_ignores_input_scale(inputs):
    decoupled = torch.randn(B, C, D, dtype=torch.float64)
    decoupled[:, :, 0] = 0
    related = affinity(decoupled, inputs[1])
    assert not related.isnan().any()
    assert related.min() >= 0
    torch.testing.assert_close(related[:, 1:].norm(dim=-1), torch.ones(B, D - 1, dtype=torch.float64))
    torch.testing.assert_close(affinity(decoupled / 7, inputs[1]), related, rtol=0, atol=1e-14)


def test_image_output_does_not_depend_on_the_batch(svfr, inputs):
    tokens, *labels = inputs
    together = svfr(tokens, *labels)
    alone = torch.cat([svfr(image[None], *labels) for image in tokens])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-13)


def test_zero_weight_gives_equal_gates_and_averaged_tokens(inputs):
    tokens, labels, _ = inputs
    weight = torch.zeros(D, D, dtype=torch.float64)
    queries = labels.expand(B, -1, -1)
    torch.testing.assert_close(label_gate(tokens, queries, weight), torch.full_like(tokens, C / P))
    mean_token = tokens.mean(1, keepdim=True).expand(-1, C, -1)
    torch.testing.assert_close(semantic_decoupling(tokens, labels, weight), mean_token)


def test_mean_reduction_with_equal_gates_returns_the_tokens(svfr, inputs):
    svfr.reconstruction.weight.data.zero_()
    torch.testing.assert_close(svfr(*inputs, "mean"), inputs[0])


def test_output_does_not_depend_on_label_order(svfr, inputs):
    tokens, labels, refined = inputs
    order = torch.randperm(C)
    torch.testing.assert_close(
        svfr(tokens, labels[order], refined[order]), svfr(tokens, labels, refined), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("training", [False, True])
def test_peak_memory_is_bounded_by_chunk_size_not_label_count(training, set_budget, allocations):
    batch, patches, embed_dim, label_count = 2, 196, 32, 500
    tokens_bytes = batch * patches * embed_dim * 4
    budget = 2 * tokens_bytes
    set_budget(budget)
    svfr = SemanticFeatureReconstruction(embed_dim)
    tokens = torch.randn(batch, patches, embed_dim, requires_grad=training)
    labels = torch.randn(label_count, embed_dim)
    with torch.set_grad_enabled(training), allocations:
        rebuilt = svfr(tokens, labels, labels)
        if training:
            rebuilt.sum().backward()
    label_bytes = batch * label_count * embed_dim * 4
    assert allocations.largest <= max(budget, 2 * label_bytes)
    assert allocations.peak <= 8 * budget + 16 * label_bytes
    assert allocations.peak < label_count * tokens_bytes / 5


def test_saved_activations_do_not_include_patch_label_products(set_budget):
    """Nothing of patches x labels x dimensions is kept: the chunks are computed again."""
    batch, patches, embed_dim = 2, 196, 32
    tokens = torch.randn(batch, patches, embed_dim, requires_grad=True)
    set_budget(4 * tokens.numel() * 4)
    svfr = SemanticFeatureReconstruction(embed_dim)

    def kept(label_count: int) -> int:
        labels = torch.randn(label_count, embed_dim)
        with SavedBytes(svfr) as saved:
            _rebuilt = svfr(tokens, labels, labels)
        return saved.total

    of_a_label = (kept(1006) - kept(81)) / (1006 - 81)
    assert of_a_label <= 10 * batch * embed_dim * 4
    assert kept(1006) < 1006 * tokens.numel() * 4 / 15
