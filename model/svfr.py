"""Semantic visual feature reconstruction, SVFR in SigRL: patch tokens rebuilt from the labels.

Both attentions run over patches, one per label and channel. They are streamed over chunks of labels, so that
memory is O(B * P * chunk * D) for any number of labels. The published biases of the two maps inside the
softmaxes are constant over the patches, so they cancel and are left out.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.blocks import block_slices, run_block

Reduction = Literal["sum", "mean"]


def semantic_decoupling(patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
    """Labels look at patches: M[c] = sum over p of A[p, c] * X_p, A = softmax over p of W1 tanh(X_p * H_c).

    `patch_tokens` [B, P, D], `label_embeddings` [C, D], `weight` (W1) [D, D] -> [B, C, D].
    """
    chunks = block_slices(len(label_embeddings), patch_tokens)
    decoupled = [
        run_block(_decouple, patch_tokens, label_embeddings[None, chunk], weight, alone=len(chunks) == 1)
        for chunk in chunks
    ]
    return torch.cat(decoupled, dim=1)


def affinity(decoupled: Tensor, label_embeddings: Tensor) -> Tensor:
    """Q = row-wise L2 normalisation of ReLU(Mᵀ H).

    `decoupled` (M) [B, C, D], `label_embeddings` (H) [C, D] -> [B, D, D]. The published code first divides by
    one norm over the whole batch, which ReLU and the normalisation cancel.
    """
    return functional.normalize(torch.relu(decoupled.mT @ label_embeddings), dim=-1)


def label_gate(patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
    """Patches look at labels: G_p = sum over c of softmax over p of W2 tanh(X_p * O_c).

    `patch_tokens` [B, P, D], `label_queries` (O) [B, C, D], `weight` (W2) [D, D] -> [B, P, D].
    """
    chunks = block_slices(label_queries.shape[1], patch_tokens)
    gate = torch.zeros_like(patch_tokens)
    for chunk in chunks:
        gate = gate + run_block(_gate, patch_tokens, label_queries[:, chunk], weight, alone=len(chunks) == 1)
    return gate


def _patch_attention(patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
    """softmax over p of W tanh(X_p * Z_c): [B, P, D], [B or 1, C, D] -> [B, C, P, D]."""
    matched = torch.tanh(patch_tokens[:, None] * label_queries[:, :, None])
    return functional.linear(matched, weight).softmax(dim=2)


def _decouple(patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
    return (_patch_attention(patch_tokens, label_embeddings, weight) * patch_tokens[:, None]).sum(dim=2)


def _gate(patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
    return _patch_attention(patch_tokens, label_queries, weight).sum(dim=1)


class Steps(Protocol):
    """How the two attentions over patches are computed; they account for nearly all of the method's cost."""

    def decouple(self, patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
        """As `semantic_decoupling`."""
        ...

    def gate(self, patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
        """As `label_gate`."""
        ...


class StreamedSteps:
    """The readable implementation, for any device, with gradients."""

    decouple = staticmethod(semantic_decoupling)
    gate = staticmethod(label_gate)


class SemanticFeatureReconstruction(nn.Module):
    """The whole of SVFR, with its three maps: `decoupling` (W1), `fusion` (F) and `reconstruction` (W2)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.decoupling = nn.Linear(embed_dim, embed_dim, bias=False)
        self.fusion = nn.Linear(2 * embed_dim, embed_dim, bias=False)
        self.reconstruction = nn.Linear(embed_dim, embed_dim, bias=False)
        self.steps: Steps = StreamedSteps()

    def forward(
        self,
        patch_tokens: Tensor,
        label_embeddings: Tensor,
        refined_label_embeddings: Tensor,
        reduction: Reduction = "sum",
    ) -> Tensor:
        """`patch_tokens` [B, P, D], label embeddings of both kinds [C, D] -> reconstructed [B, P, D].

        A patch is its token times its gate. The published `sum` grows with C; `mean` scales it by P / C, so
        that uniform attention returns the token itself.
        """
        decoupled = self.steps.decouple(patch_tokens, label_embeddings, self.decoupling.weight)
        related = decoupled @ affinity(decoupled, label_embeddings)
        refined = refined_label_embeddings.expand(related.shape[0], -1, -1)
        label_queries = self.fusion(torch.cat([related, refined], dim=-1))
        gate = self.steps.gate(patch_tokens, label_queries, self.reconstruction.weight)
        if reduction == "mean":
            gate = gate * (patch_tokens.shape[1] / len(label_embeddings))
        return patch_tokens * gate
