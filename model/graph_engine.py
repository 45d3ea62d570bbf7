"""The engine on a bundle's ONNX graphs, for any runtime. Imports and runs without torch.

The graphs do the heavy work, each for one block of labels or rows, and this engine loops over the blocks, so
no [B, P, C, D] tensor ever exists. The cheap steps run here in NumPy.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isqrt
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from sigrl.model.background import calibrator_of
from sigrl.model.bundle_engine import Array, BundleEngine
from sigrl.model.bundle_files import BundleError, BundleFiles
from sigrl.model.features import ImageFeatures, LabelFeatures, unit_norm
from sigrl.model.label_texts import text_batches
from sigrl.model.manifest import ONNX_TOKENIZER, TOKENIZER, WEIGHTS
from sigrl.model.prompt_tokens import Tokenize, with_prompt
from sigrl.model.region_maps import Regions
from sigrl.model.tokenizer import CLIP_TOKENIZER, PublishedTokenizer, SentenceTokenizer
from sigrl.model.vocabulary import Label

BLOCK_BYTES = {"cpu": 16 * 2**20}
"""Bytes of a block's largest tensor, by kind of device."""
ACCELERATOR_BLOCK_BYTES = 256 * 2**20
"""Bytes of a block's largest tensor on every other device."""


class Graph(Protocol):
    """One graph, ready to run. Several threads may call it at once."""

    def __call__(self, **arrays: npt.NDArray[Any]) -> list[Array]:
        """Returns the graph's outputs in their order. Arrays that are not inputs of the graph are ignored."""
        ...


class GraphError(Exception):
    """A graph that the runtime cannot load."""


class GraphEngine(BundleEngine[Array]):
    """A bundle with graphs. A subclass chooses the runtime and the kind of device."""

    def __init__(
        self,
        files: BundleFiles,
        open_graphs: Callable[[Mapping[str, bytes]], tuple[Mapping[str, Graph], str]],
        svfr_labels: int | None,
    ) -> None:
        """`open_graphs` gets the graphs' contents by name and returns the graphs and their kind of device, or
        raises GraphError. `svfr_labels` is the largest number of labels, evenly spaced, over which SVFR runs
        in the published form; None means all. Raises BundleError if the bundle has no graphs, or if one of
        them cannot be loaded."""
        self._svfr_labels = svfr_labels
        contents = {
            PurePath(name).stem: content for name, content in files.contents.items() if name.endswith(".onnx")
        }
        if not contents:
            raise BundleError(
                f"the bundle {files.manifest.name!r} has no ONNX graphs: make one with them, using "
                "`sigrl-train export BUNDLE -o NEW_BUNDLE`"
            )
        try:
            super().__init__(
                files.manifest, files.checkpoint_id, calibrator_of(files), _checked_head_arrays(files)
            )
        except ValueError as error:
            raise BundleError(str(error)) from error
        self._tokenize = _load_tokenizer(files)
        self.has_int8_tower = b"QuantizeLinear" in contents["image_tower"]
        """Whether the image tower computes in int8: `sigrl-train export --int8` made its graph."""
        try:
            self._graphs, self.device = open_graphs(contents)
        except GraphError as error:
            raise BundleError(f"a graph of the bundle cannot be loaded ({error}): export it again") from error
        self._block_bytes = BLOCK_BYTES.get(self.device, ACCELERATOR_BLOCK_BYTES)
        self._context = self._graphs["context"]() if "context" in self._graphs else None

    def _run_image_tower(self, pixel_values: Array) -> ImageFeatures[Array]:
        embeddings, tokens, *words = self._graphs["image_tower"](
            pixel_values=np.asarray(pixel_values, np.float32)
        )
        side = isqrt(tokens.shape[1])  # the photograph is square, and so is the grid
        rebuilt = None
        if self._context is not None:
            labels, refined = self._context
            unit_rms = unit_norm(tokens) * np.sqrt(np.float32(tokens.shape[2]))
            rebuilt = self._rebuild(unit_rms, labels, refined) * np.float32(tokens.shape[1] / len(labels))
        elif "enrich" in self._graphs:
            maps = tokens.reshape(len(tokens), side, side, tokens.shape[2])
            (rebuilt,) = self._graphs["enrich"](image_embeddings=embeddings, patch_maps=maps)
        return ImageFeatures(embeddings, tokens, (side, side), rebuilt, *words)

    def _read_regions(self, images: ImageFeatures[Array]) -> Regions:
        assert images.region_features is not None
        return Regions(*self._graphs["read_regions"](region_features=images.region_features))

    def _embed(self, labels: Sequence[Label], progress: Callable[[int], None] | None) -> Array:
        backbone = self.manifest.backbone
        embeddings = np.zeros((len(labels), backbone.embed_dim), np.float32)
        for batch in text_batches(labels, backbone.prompts):
            (features,) = self._graphs["text_tower"](token_ids=self._tokenize(batch.texts))
            counts = batch.counts[:, None].astype(np.float32)
            np.add.at(embeddings, batch.rows, np.where(counts > 1, unit_norm(features) / counts, features))
            if progress is not None:
                progress(batch.labels_done)
        return embeddings

    def _refine(self, label_embeddings: Array) -> LabelFeatures[Array]:
        return LabelFeatures(label_embeddings, self._refined(label_embeddings))

    def _match(self, images: ImageFeatures[Array], labels: LabelFeatures[Array]) -> Array:
        parts = self._compare("match", images, labels)
        if self.manifest.head.independent_scores:
            return parts[0]
        if self.manifest.head.normalize_scores:
            parts = [unit_norm(part) for part in parts]
        mean: Array = np.mean(parts, axis=0)
        return mean

    def _local_scores(self, images: ImageFeatures[Array], labels: LabelFeatures[Array]) -> Array:
        return self._compare("explain", images, labels)[0]

    @property
    def _rebuilds_tokens(self) -> bool:
        return self._context is not None or "enrich" in self._graphs

    def _to_numpy(self, array: Array) -> Array:
        return array

    def _from_numpy(self, array: Array) -> Array:
        return array

    def _compare(self, graph: str, images: ImageFeatures[Array], labels: LabelFeatures[Array]) -> list[Array]:
        """Outputs of `match` or `explain` [B, C, ...], computed block by block."""
        tokens = images.patch_tokens if images.rebuilt_tokens is None else images.rebuilt_tokens
        if not self._in_context and "decouple" in self._graphs:
            count = len(labels.refined)
            # Without a limit, all rows.
            rows = np.linspace(0, count - 1, min(count, self._svfr_labels or count)).astype(int)
            rebuilt = self._rebuild(tokens, labels.label_embeddings[rows], labels.refined[rows])
            tokens = rebuilt * np.float32(count / len(rows))
        matched = labels.refined if self._in_context else labels.label_embeddings
        blocks = [
            self._graphs[graph](
                image_embeddings=images.image_embeddings, patch_tokens=tokens, labels=matched[block]
            )
            for block in self._blocks(len(matched), tokens[:, :, 0].size)
        ]
        return [np.concatenate(outputs, axis=1) for outputs in zip(*blocks, strict=True)]

    def _rebuild(self, tokens: Array, labels: Array, refined: Array) -> Array:
        """SVFR: `tokens` [B, P, D], raw and refined labels [C, D] -> [B, P, D]; see `sigrl.model.svfr`."""
        blocks = list(self._blocks(len(labels), tokens.size))
        decouple, query, gate = (self._graphs[name] for name in ("decouple", "query", "gate"))
        decoupled = np.concatenate(
            [decouple(patch_tokens=tokens, label_embeddings=labels[block])[0] for block in blocks], axis=1
        )
        (queries,) = query(decoupled=decoupled, label_embeddings=labels, refined=refined)
        gates = np.zeros_like(tokens)
        for block in blocks:
            gates += gate(patch_tokens=tokens, label_queries=queries[:, block])[0]
        return tokens * gates

    def _refined(self, embeddings: Array) -> Array:
        """Refines labels by the graph over them: [C, D] -> [C, D]; see `sigrl.model.gmc`."""
        if self._evidence is not None:
            return unit_norm(embeddings)
        if "refine" in self._graphs:
            sources = max(1, len(self.manifest.head.context_labels)) * embeddings.shape[1]
            return self._by_rows("refine", embeddings, sources)
        if "graph_nodes" not in self._graphs:
            return embeddings
        nodes = self._by_rows("graph_nodes", embeddings, embeddings.shape[1])
        nodes = self._by_rows("graph_hidden", nodes, nodes.size, sources=nodes)
        return self._by_rows("graph_output", nodes, nodes.size, sources=nodes)

    def _by_rows(self, graph: str, rows: Array, size: int, **others: Array) -> Array:
        """Runs the graph on all rows, block by block; each row needs a tensor of `size` numbers."""
        blocks = self._blocks(len(rows), size)
        return np.concatenate([self._graphs[graph](rows=rows[block], **others)[0] for block in blocks])

    def _blocks(self, length: int, size: int) -> Iterator[slice]:
        """Cuts `range(length)` into blocks; each item needs a tensor of `size` numbers."""
        step = max(1, self._block_bytes // (4 * max(1, size)))
        return (slice(start, start + step) for start in range(0, length, step))


def _checked_head_arrays(files: BundleFiles) -> dict[str, Array]:
    """The head's tensors by their names within it; only an evidence head needs them here. Raises ValueError
    if a weight of the bundle is not finite."""
    try:
        stored = load(files.contents[WEIGHTS])
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{WEIGHTS} is not in the safetensors format: {error}") from error
    for name, array in stored.items():
        # int8 values are always finite.
        if array.dtype != np.int8 and not np.isfinite(array).all():
            raise ValueError(f"`{name}` contains values that are not finite")
    if files.manifest.head.evidence is None:
        return {}
    return {
        name.removeprefix("head."): array.astype(np.float32)
        for name, array in stored.items()
        if name.startswith("head.")
    }


def _load_tokenizer(files: BundleFiles) -> Tokenize:
    backbone = files.manifest.backbone
    encoder = backbone.sentence_encoder
    try:
        tokenize: Tokenize
        if encoder is not None:
            tokenize = SentenceTokenizer(files.contents[TOKENIZER], encoder.context_length)
        elif backbone.tokenizer is not None:
            tokenize = PublishedTokenizer(files.contents[TOKENIZER], backbone.tokenizer)
        else:
            tokenize = PublishedTokenizer(files.contents[ONNX_TOKENIZER], CLIP_TOKENIZER)
        return with_prompt(tokenize, backbone)
    except ValueError as error:
        raise BundleError(f"{error}: make the bundle again") from error
