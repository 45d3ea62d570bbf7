"""The published head's structure of computation, rebuilt for comparison: float32, nothing streamed.

It allocates what the published code allocates: four [C * C, D] tensors in GMC's second layer and several
[B * P * C, D] tensors in SVFR. The weights are our head's, so that both give the same scores.
"""

import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.features import ImageFeatures
from sigrl.model.gmc import NEGATIVE_SLOPE, GraphAttention, LabelGraph
from sigrl.model.heads import SigRLHead
from sigrl.model.svfr import SemanticFeatureReconstruction, affinity


def score(head: SigRLHead, image_features: ImageFeatures, label_embeddings: Tensor) -> Tensor:
    """Scores [B, C] of a head in the published form; `label_embeddings` [C, D]."""
    assert head.graph is not None
    assert head.svfr is not None
    refined = _label_graph(head.graph, label_embeddings)
    rebuilt = _reconstruction(head.svfr, image_features.patch_tokens, label_embeddings, refined)
    local = (rebuilt @ label_embeddings.T).topk(head.config.top_k, dim=1).values.mean(1)
    scores = (image_features.image_embeddings @ label_embeddings.T, local)
    return torch.stack([functional.normalize(part, dim=-1) for part in scores]).mean(0)


def _label_graph(graph: LabelGraph, label_embeddings: Tensor) -> Tensor:
    return _graph_attention(graph.output, functional.elu(_graph_attention(graph.hidden, label_embeddings)))


def _graph_attention(layer: GraphAttention, nodes: Tensor) -> Tensor:
    count = len(nodes)
    mapped = layer.linear(nodes).view(count, layer.heads, -1)
    # Source, target, sum and activation for every pair of nodes.
    sources = mapped.repeat(count, 1, 1)
    targets = mapped.repeat_interleave(count, dim=0)
    pairs = functional.leaky_relu(targets + sources, NEGATIVE_SLOPE).view(count, count, layer.heads, -1)
    weights = (pairs @ layer.attention).softmax(1)
    return torch.einsum("nkh,khd->nhd", weights, mapped).flatten(1)


def _reconstruction(
    svfr: SemanticFeatureReconstruction, patch_tokens: Tensor, label_embeddings: Tensor, refined: Tensor
) -> Tensor:
    batch, patches, embed_dim = patch_tokens.shape
    count = len(label_embeddings)
    queries = label_embeddings.expand(batch, -1, -1)
    attention = _patch_attention(patch_tokens, queries, svfr.decoupling.weight)
    decoupled = (attention * patch_tokens[:, :, None]).sum(1)
    related = decoupled @ affinity(decoupled, label_embeddings)
    queries = svfr.fusion(torch.cat([related, refined.expand(batch, -1, -1)], dim=-1))
    attention = _patch_attention(patch_tokens, queries, svfr.reconstruction.weight)
    rebuilt = attention * patch_tokens[:, :, None].expand(batch, patches, count, embed_dim)
    return rebuilt.sum(2)


def _patch_attention(patch_tokens: Tensor, queries: Tensor, weight: Tensor) -> Tensor:
    """[B, P, D], [B, C, D] -> [B, P, C, D]."""
    batch, patches, embed_dim = patch_tokens.shape
    count = queries.shape[1]
    tokens = patch_tokens[:, :, None].repeat(1, 1, count, 1).view(-1, embed_dim)
    labels = queries[:, None].repeat(1, patches, 1, 1).view(-1, embed_dim)
    logits = functional.linear(torch.tanh(tokens * labels), weight)
    return logits.view(batch, patches, count, embed_dim).softmax(1)
