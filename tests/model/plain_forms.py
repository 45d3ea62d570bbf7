"""The method as its formulas say it, with every pair and every attention held at once."""

import torch
from torch.nn import functional


def graph_attention(layer, nodes, context=None):
    """One GATv2 layer as the formula says it, with all pairs at once: [N, in] -> [N, out]."""
    mapped = layer.linear(nodes).unflatten(1, (layer.heads, -1))
    if context is None:
        sources = mapped.expand(len(nodes), -1, -1, -1)
    else:
        shared = layer.linear(context).unflatten(1, (layer.heads, -1)).expand(len(nodes), -1, -1, -1)
        sources = torch.cat([shared, mapped[:, None]], dim=1)
    pairs = functional.leaky_relu(mapped[:, None] + sources, 0.2)
    weights = torch.einsum("ijhd,d->ijh", pairs, layer.attention).softmax(dim=1)
    return torch.einsum("ijh,ijhd->ihd", weights, sources).flatten(1)


def label_graph(graph, labels, context=None):
    hidden_context = None if context is None else functional.elu(graph_attention(graph.hidden, context))
    hidden = functional.elu(graph_attention(graph.hidden, labels, context))
    return graph_attention(graph.output, hidden, hidden_context)


def patch_attention(patch_tokens, queries, weight, bias=0.0):
    """softmax over p of W tanh(X_p * Z_c) + b, for all labels at once: [B, P, C, D]."""
    matched = torch.tanh(torch.einsum("bpd,bcd->bpcd", patch_tokens, queries))
    return (torch.einsum("bpcd,ed->bpce", matched, weight) + bias).softmax(dim=1)


def reconstruction(svfr, patch_tokens, labels, refined, reduction, bias=0.0):
    spread = labels.expand(len(patch_tokens), -1, -1)
    attention = patch_attention(patch_tokens, spread, svfr.decoupling.weight, bias)
    decoupled = torch.einsum("bpcd,bpd->bcd", attention, patch_tokens)
    related = torch.einsum("bcd,ce->bde", decoupled, labels).relu()
    norms = related.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-300)
    rebuilt_labels = torch.einsum("bcd,bde->bce", decoupled, related / norms)
    pairs = torch.cat([rebuilt_labels, refined.expand_as(rebuilt_labels)], dim=-1)
    queries = torch.einsum("bcf,df->bcd", pairs, svfr.fusion.weight)
    gate = patch_attention(patch_tokens, queries, svfr.reconstruction.weight, bias).sum(2)
    factor = patch_tokens.shape[1] / len(labels) if reduction == "mean" else 1.0
    return patch_tokens * gate * factor
