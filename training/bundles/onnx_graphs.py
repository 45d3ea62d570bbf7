"""The steps of a checkpoint as modules that export to ONNX, each for one block;
`sigrl.model.graph_engine` loops over the blocks.

A module stores `backbone` or `head` under that name, so that its weights have the names used in the bundle.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.bundle import TaggingModel
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.gmc import GraphAttention
from sigrl.model.matching import unit_rms
from sigrl.model.svfr import affinity


class Step(nn.Module):
    """A part of the model as a module that is exported to one graph."""

    inputs: tuple[str, ...]
    """Name and shape of each argument, in order, with one letter per dimension. The numbers of photographs
    `B`, rows in a block `n`, labels `C`, texts `N` and tokens `L` may change with every call; the model fixes
    all others."""
    outputs: tuple[str, ...]
    """Names of the results, in order."""


class ImageTower(Step):
    inputs = ("pixel_values B3SS",)

    def __init__(self, model: TaggingModel) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.outputs = ("image_embeddings", "patch_tokens")
        if model.backbone.config.words is not None:
            self.outputs = (*self.outputs, "word_logits", "region_features")

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """[B, 3, S, S] -> [B, D], [B, P, D] and, from a word tower, [B, K + classes] and [B, R, 2 F]."""
        features = self.backbone.encode_images(pixel_values)
        return tuple(getattr(features, name) for name in self.outputs)


class TextTower(Step):
    outputs = ("text_features",)

    def __init__(self, model: TaggingModel) -> None:
        super().__init__()
        self.backbone = model.backbone
        # open_clip's text tower only takes texts of its full context length.
        dynamic = model.backbone.config.text is None
        self.inputs = ("token_ids NL" if dynamic else "token_ids NT",)

    def forward(self, token_ids: Tensor) -> Tensor:
        """[N, L] -> [N, D]."""
        return self.backbone.encode_texts(token_ids)


class _HeadStep(Step):
    def __init__(self, model: TaggingModel) -> None:
        super().__init__()
        self.head: Any = model.head


class Match(_HeadStep):
    """Outputs the scores if they do not depend on the other labels; otherwise it outputs the parts of the
    published score, which are normalised over all labels before they are averaged."""

    def __init__(self, model: TaggingModel) -> None:
        super().__init__(model)
        both = 1 + model.head.matches_patches
        self.inputs = ("image_embeddings BD", "labels nD", "patch_tokens BPD")[: 1 + both]
        self.outputs = ("logits",)
        if not model.head.config.independent_scores:
            self.outputs = ("global_scores", "local_scores")[:both]

    def forward(
        self, image_embeddings: Tensor, labels: Tensor, patch_tokens: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """[B, D], [n, D] and, if the head matches patches, [B, P, D] (rebuilt if the head rebuilds them)
        -> [B, n] each."""
        if patch_tokens is None:
            patch_tokens = image_embeddings[:, None]
        images = ImageFeatures(image_embeddings, patch_tokens, (0, 0), rebuilt_tokens=patch_tokens)
        features = LabelFeatures(labels, refined=labels)
        if self.head.config.independent_scores:
            return (self.head.score(images, features),)
        parts = [self.head.global_scores(images, features)]
        if self.head.matches_patches:
            parts.append(self.head.pool_patches(self.head.local_scores(images, features)))
        return tuple(parts)


class Explain(_HeadStep):
    inputs = ("patch_tokens BPD", "labels nD")
    outputs = ("local_scores",)

    def forward(self, patch_tokens: Tensor, labels: Tensor) -> Tensor:
        """[B, P, D], [n, D] -> [B, n, P]."""
        images = ImageFeatures(patch_tokens[:, 0], patch_tokens, (0, 0), rebuilt_tokens=patch_tokens)
        local: Tensor = self.head.local_scores(images, LabelFeatures(labels, refined=labels))
        return local.mT


class ReadRegions(Step):
    """Replaces `Explain` for an evidence head."""

    inputs = ("region_features BRE",)
    outputs = ("embeddings", "tokens", "word_logits")

    def __init__(self, model: TaggingModel) -> None:
        super().__init__()
        self.backbone = model.backbone

    def forward(self, region_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`WordTower.read_regions`: [B, R, 2 F] -> [B, R, D] twice, [B, R, K + classes]."""
        regions: tuple[Tensor, Tensor, Tensor] = self.backbone.visual.read_regions(region_features)
        return regions


class Enrich(_HeadStep):
    inputs = ("image_embeddings BD", "patch_maps BhwD")
    outputs = ("enriched",)

    def forward(self, image_embeddings: Tensor, patch_maps: Tensor) -> Tensor:
        """BiAM's tokens: [B, D], patch tokens by row and column of the grid [B, h, w, D] -> [B, P, D]."""
        grid = (patch_maps.shape[1], patch_maps.shape[2])
        images = ImageFeatures(image_embeddings, patch_maps.flatten(1, 2), grid)
        enriched: Tensor = self.head.rebuilder()(images)
        return enriched


class Decouple(_HeadStep):
    inputs = ("patch_tokens BPD", "label_embeddings nD")
    outputs = ("decoupled",)

    def forward(self, patch_tokens: Tensor, label_embeddings: Tensor) -> Tensor:
        """`sigrl.model.svfr.semantic_decoupling`: [B, P, D], [n, D] -> [B, n, D]."""
        weight = self.head.svfr.decoupling.weight
        attention = _patch_attention(patch_tokens, label_embeddings[None], weight)
        return (attention * patch_tokens.mT[:, None]).sum(dim=3)


class Query(_HeadStep):
    inputs = ("decoupled BCD", "label_embeddings CD", "refined CD")
    outputs = ("label_queries",)

    def forward(self, decoupled: Tensor, label_embeddings: Tensor, refined: Tensor) -> Tensor:
        """SVFR's label queries: [B, C, D], raw and refined labels [C, D] -> [B, C, D]."""
        related = decoupled @ affinity(decoupled, label_embeddings)
        refined = refined.expand(related.shape[0], -1, -1)
        queries: Tensor = self.head.svfr.fusion(torch.cat([related, refined], dim=-1))
        return queries


class Gate(_HeadStep):
    inputs = ("patch_tokens BPD", "label_queries BnD")
    outputs = ("gate",)

    def forward(self, patch_tokens: Tensor, label_queries: Tensor) -> Tensor:
        """The block's share in `sigrl.model.svfr.label_gate`: [B, P, D], [B, n, D] -> [B, P, D]."""
        weight = self.head.svfr.reconstruction.weight
        return _patch_attention(patch_tokens, label_queries, weight).sum(dim=1).mT


def _patch_attention(patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
    """softmax over p of W tanh(X_p * Z_c): [B, P, D], [B or 1, n, D] -> [B, n, D, P].

    With the patches in the last dimension, ONNX Runtime takes two thirds of the time.
    """
    matched = torch.tanh(patch_tokens.mT[:, None] * label_queries[..., None])
    return (weight @ matched).softmax(dim=3)


class Context(Step):
    """The context labels as SVFR uses them, raw and refined: constants [K, D]."""

    inputs = ()
    outputs = ("label_embeddings", "refined")

    def __init__(self, model: TaggingModel) -> None:
        super().__init__()
        head: Any = model.head
        self.context = nn.Buffer(unit_rms(head.context_label_embeddings))
        self.refined_context = nn.Buffer(head.label_features(head.context_label_embeddings).refined_context)

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.context.clone(), self.refined_context.clone()


class Refine(_HeadStep):
    """Refines labels in the context form, each by itself over the context's nodes, which are constants."""

    inputs = ("rows nD",)
    outputs = ("refined",)

    def __init__(self, model: TaggingModel) -> None:
        super().__init__(model)
        self.has_graph = getattr(model.head, "graph", None) is not None
        if self.has_graph:
            hidden, output = self.head.graph.hidden, self.head.graph.output
            context = unit_rms(self.head.context_label_embeddings)
            self.sources = nn.Buffer(_nodes(hidden, context))
            self.hidden_sources = nn.Buffer(_nodes(output, functional.elu(hidden(context))))

    def forward(self, rows: Tensor) -> Tensor:
        """[n, D] -> [n, D], unit norm."""
        labels = unit_rms(rows)
        if self.has_graph:
            hidden, output = self.head.graph.hidden, self.head.graph.output
            inner = hidden.attend_with_self(_nodes(hidden, labels), self.sources, hidden.attention)
            inner = _nodes(output, functional.elu(inner.flatten(1)))
            refined = output.attend_with_self(inner, self.hidden_sources, output.attention)
            labels = labels + self.head.gamma * refined.flatten(1)
        return functional.normalize(labels, dim=-1)


class GraphNodes(_HeadStep):
    """The published form's label graph before its first attention; `GraphHidden` and `GraphOutput` follow."""

    inputs = ("rows nD",)
    outputs = ("nodes",)

    def forward(self, rows: Tensor) -> Tensor:
        """Labels [n, D] -> nodes of the first layer [n, H, F]."""
        return _nodes(self.head.graph.hidden, rows)


class GraphHidden(_HeadStep):
    inputs = ("rows nHF", "sources CHF")
    outputs = ("nodes",)

    def forward(self, rows: Tensor, sources: Tensor) -> Tensor:
        """A block [n, H, F] and all [C, H, F] of the first layer's nodes -> the second layer's [n, 1, D]."""
        graph = self.head.graph
        inner = graph.hidden.attend(rows, sources, graph.hidden.attention)
        return _nodes(graph.output, functional.elu(inner.flatten(1)))


class GraphOutput(_HeadStep):
    inputs = ("rows n1D", "sources C1D")
    outputs = ("refined",)

    def forward(self, rows: Tensor, sources: Tensor) -> Tensor:
        """A block [n, 1, D] and all [C, 1, D] of the second layer's nodes -> refined labels [n, D]."""
        output = self.head.graph.output
        refined: Tensor = output.attend(rows, sources, output.attention)
        return refined.flatten(1)


def _nodes(layer: GraphAttention, features: Tensor) -> Tensor:
    """The nodes that a layer attends over: [n, in] -> [n, heads, d]."""
    mapped: Tensor = layer.linear(features)
    return mapped.unflatten(1, (layer.heads, -1))


STEPS: dict[str, Callable[[TaggingModel], Step]] = {
    "image_tower": ImageTower,
    "text_tower": TextTower,
    "match": Match,
    "explain": Explain,
    "read_regions": ReadRegions,
    "enrich": Enrich,
    "decouple": Decouple,
    "query": Query,
    "gate": Gate,
    "context": Context,
    "refine": Refine,
    "graph_nodes": GraphNodes,
    "graph_hidden": GraphHidden,
    "graph_output": GraphOutput,
}
"""The steps by the names in `Description.onnx_file_names`."""
