"""Graph-based multi-label correlation, GMC in SigRL: labels refine one another over a graph.

It has two GATv2 layers (Brody et al. 2022). The attention is computed in blocks of nodes, so that no [C, C,
D] tensor ever exists.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.blocks import block_slices, run_block

NEGATIVE_SLOPE = 0.2


class GraphAttention(nn.Module):
    """One GATv2 layer over a complete graph; heads are concatenated.

    Unlike in most GATv2 libraries, source and target share one linear map without bias, and all heads share
    one attention vector. A node's output is the attention-weighted sum of the mapped nodes.
    """

    def __init__(self, in_features: int, out_features: int, heads: int, dropout: float = 0.3) -> None:
        """`out_features` is the total of all heads. Raises ValueError when `heads` does not divide it."""
        super().__init__()
        if out_features % heads:
            raise ValueError(f"{out_features} output features cannot be divided among {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.linear = nn.Linear(in_features, out_features, bias=False)
        self.attention = nn.Parameter(torch.empty(out_features // heads))
        bound = self.attention.numel() ** -0.5
        nn.init.uniform_(self.attention, -bound, bound)
        self.compiled_logits: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    def forward(self, nodes: Tensor, context: Tensor | None = None) -> Tensor:
        """Nodes [N, in] -> [N, out].

        Every node attends to all of `nodes`; with `context` [K, in], to the context's nodes and itself.
        """
        targets = self._map(nodes)
        sources = targets if context is None else self._map(context)
        # When compiled, a row of the block only needs memory for its logits, not for the sums behind them.
        blocks = block_slices(len(nodes), sources if self.compiled_logits is None else sources[:, :, 0])
        attend = self.attend if context is None else self.attend_with_self
        # No list of rows: small results that stay alive would fragment the heap between large temporary
        # blocks.
        attended = torch.empty_like(targets)
        for block in blocks:
            attended[block] = run_block(
                attend, targets[block], sources, self.attention, alone=len(blocks) == 1
            )
        return attended.flatten(1)

    def _map(self, nodes: Tensor) -> Tensor:
        mapped: Tensor = self.linear(nodes)
        return mapped.view(len(nodes), self.heads, -1)

    def attend(self, targets: Tensor, sources: Tensor, vector: Tensor) -> Tensor:
        """Targets [n, heads, d] over sources [N, heads, d] -> [n, heads, d]."""
        weights = self._drop(self._pair_logits(targets, sources, vector).softmax(1))
        return torch.einsum("nkh,khd->nhd", weights, sources)

    def attend_with_self(self, targets: Tensor, sources: Tensor, vector: Tensor) -> Tensor:
        """As `attend`, where each target is also its own source."""
        others = self._pair_logits(targets, sources, vector)
        itself = _logits(targets, targets, vector)[:, None]
        weights = self._drop(torch.cat([others, itself], dim=1).softmax(1))
        return torch.einsum("nkh,khd->nhd", weights[:, :-1], sources) + weights[:, -1, :, None] * targets

    def _pair_logits(self, targets: Tensor, sources: Tensor, vector: Tensor) -> Tensor:
        """Logits of every target over every source: [n, heads, d], [N, heads, d] -> [n, N, heads]."""
        if self.compiled_logits is not None:
            return self.compiled_logits(targets, sources, vector)
        return _logits(targets[:, None], sources[None], vector)

    def _drop(self, weights: Tensor) -> Tensor:
        return functional.dropout(weights, self.dropout, self.training)


def fused_pair_logits(targets: Tensor, sources: Tensor, vector: Tensor) -> Tensor:
    """`_logits` of every target over every source, for torch.compile, which fuses it into one loop, so that
    nothing of size n * N * d is stored. [n, heads, d], [N, heads, d] -> [n, N, heads]."""
    sums = targets[:, None] + sources[None]
    return (functional.leaky_relu(sums, NEGATIVE_SLOPE) * vector).sum(-1)


def _logits(targets: Tensor, sources: Tensor, vector: Tensor) -> Tensor:
    """Attention logits before the softmax: aᵀ LeakyReLU(u_i + u_j), [..., d] -> [...]."""
    return functional.leaky_relu(targets + sources, NEGATIVE_SLOPE, inplace=True) @ vector


class LabelGraph(nn.Module):
    """GMC: refines label embeddings with two layers: D -> heads x head_features, ELU -> D, one head."""

    def __init__(self, embed_dim: int, heads: int = 4, head_features: int = 32, dropout: float = 0.3) -> None:
        super().__init__()
        self.dropout = dropout
        self.hidden = GraphAttention(embed_dim, heads * head_features, heads, dropout)
        self.output = GraphAttention(heads * head_features, embed_dim, 1, dropout)

    def forward(self, label_embeddings: Tensor, context: Tensor | None = None) -> Tensor:
        """`label_embeddings` [C, D] -> [C, D].

        Without `context`, this is the published form: a complete graph over the C labels. With `context` [K,
        D], the context's nodes are refined among themselves, and every label attends only to them and itself,
        so its result does not depend on the other labels.
        """
        labels = self._drop(label_embeddings)
        hidden_context = None
        if context is not None:
            context = self._drop(context)
            hidden_context = self._drop(functional.elu(self.hidden(context)))
        hidden_labels = self._drop(functional.elu(self.hidden(labels, context)))
        refined: Tensor = self.output(hidden_labels, hidden_context)
        return refined

    def _drop(self, features: Tensor) -> Tensor:
        return functional.dropout(features, self.dropout, self.training)
