"""The engine on ONNX Runtime. Imports and runs without torch.

Graphs do what is heavy, each for one block of labels or rows, and this engine loops over the blocks: no
[B, P, C, D] tensor ever exists. What is cheap is done here in NumPy.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from sigrl.model.background import calibrator_of
from sigrl.model.bundle_files import BundleError, BundleFiles, bundled_path, read_files
from sigrl.model.calibration import NO_BACKGROUND, calibrated_already, probabilities, thresholds
from sigrl.model.evidence import Photographs, evidence_of, pool_tokens
from sigrl.model.kept_features import KeptFeatures, keep
from sigrl.model.label_calibration import EverydayGoal, Goal, everyday_thresholds, fit_labels
from sigrl.model.label_texts import check_label_arrays, packed_widths, text_batches
from sigrl.model.manifest import ONNX_TOKENIZER, TOKENIZER, WEIGHTS
from sigrl.model.onnx_graphs import GraphError, open_graphs
from sigrl.model.prompt_tokens import Tokenize, with_prompt
from sigrl.model.region_maps import Regions, region_maps
from sigrl.model.tokenizer import ClipTokenizer, SentenceTokenizer
from sigrl.model.vocabulary import Vocabulary

Array = npt.NDArray[np.float32]

BLOCK_BYTES = {"cpu": 16 * 2**20}
"""Bytes of a block's largest tensor, by kind of device."""
ACCELERATOR_BLOCK_BYTES = 256 * 2**20
"""The same for every other device."""


@dataclass(frozen=True)
class ImageArrays:
    """A batch of photographs in the joint space; see `sigrl.model.features.ImageFeatures`."""

    image_embeddings: Array
    """[B, D]"""
    patch_tokens: Array
    """[B, P, D]"""
    grid: tuple[int, int]
    """Height and width of the patch grid; their product is P."""
    rebuilt_tokens: Array | None
    """[B, P, D]: the patch tokens as the head rebuilds them, where that depends on the photograph alone."""
    word_logits: Array | None = None
    """[B, K + classes]"""
    region_features: Array | None = None
    """[B, R, 2 F]"""


@dataclass(frozen=True)
class LabelArrays:
    """A label set as the head sees it; see `sigrl.model.features.LabelFeatures`."""

    label_embeddings: Array
    """[C, D]"""
    refined: Array
    """[C, D]"""
    calibration: Array | None = None
    """[C, 3]"""
    background: Array | None = None
    """[C, N]"""
    evidence: Array | None = None
    """[C, width]"""


class OnnxEngine:
    """A bundle that `sigrl-train export --onnx` wrote, on ONNX Runtime, in float32."""

    def __init__(
        self, files: BundleFiles, device: str | None = None, *, svfr_labels: int | None = None
    ) -> None:
        """`device` is "cpu", "cuda" or "tensorrt", with ":1" for the second GPU; by default CUDA where it
        works. `svfr_labels`: in the published form SVFR runs over at most so many labels, evenly spaced, in
        place of all. Raises BundleError when the bundle holds no graphs, or none that can be loaded, and
        ValueError for a device that cannot be used here."""
        self._svfr_labels = svfr_labels
        self.checkpoint_id = files.checkpoint_id
        self.manifest = files.manifest
        self.preprocessing = files.manifest.preprocessing
        self.default_threshold = files.manifest.default_threshold
        self._head = files.manifest.head
        self._in_context = self._head.form == "context"
        contents = {
            Path(name).stem: content for name, content in files.contents.items() if name.endswith(".onnx")
        }
        if not contents:
            raise BundleError(
                f"the bundle {files.manifest.name!r} holds no graphs for ONNX Runtime: make one that does by "
                "`sigrl-train export BUNDLE -o NEW_BUNDLE --onnx`"
            )
        try:
            self._tokenize = _load_tokenizer(files)
            self._graphs, self.device = open_graphs(contents, device)
        except GraphError as error:
            raise BundleError(f"a graph of the bundle cannot be loaded ({error}): export it again") from error
        try:
            self._calibrator = calibrator_of(files)
        except ValueError as error:
            raise BundleError(str(error)) from error
        self._evidence = evidence_of(self._head, _head_arrays(files))
        self._packed = packed_widths(
            files.manifest.backbone.embed_dim,
            0 if self._calibrator is None else self._calibrator.photographs,
            0 if self._evidence is None else self._evidence.width,
        )
        self._block_bytes = BLOCK_BYTES.get(self.device, ACCELERATOR_BLOCK_BYTES)
        height, width = self._graphs["image_tower"].metadata["grid"].split(",")
        self._grid = (int(height), int(width))
        self._context = self._graphs["context"]() if "context" in self._graphs else None

    @classmethod
    def load(
        cls, path: Path | None = None, device: str | None = None, *, svfr_labels: int | None = None
    ) -> "OnnxEngine":
        """The engine of the bundle in directory `path`; None: the bundled one. Raises BundleError and
        ValueError (device)."""
        return cls(read_files(bundled_path() if path is None else path), device, svfr_labels=svfr_labels)

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> ImageArrays:
        """See `Engine`. Raises ValueError for another shape than [B, 3, S, S]."""
        size = self.preprocessing.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, size, size):
            raise ValueError(f"pixel values have shape {pixel_values.shape}, expected (B, 3, {size}, {size})")
        embeddings, tokens, *words = self._graphs["image_tower"](
            pixel_values=np.asarray(pixel_values, np.float32)
        )
        rebuilt = None
        if self._context is not None:
            labels, refined = self._context
            unit_rms = _normalize(tokens) * np.sqrt(np.float32(tokens.shape[2]))
            rebuilt = self._rebuild(unit_rms, labels, refined) * np.float32(tokens.shape[1] / len(labels))
        elif "enrich" in self._graphs:
            maps = tokens.reshape(len(tokens), *self._grid, tokens.shape[2])
            (rebuilt,) = self._graphs["enrich"](image_embeddings=embeddings, patch_maps=maps)
        return ImageArrays(embeddings, tokens, self._grid, rebuilt, *words)

    def encode_labels(
        self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None
    ) -> LabelArrays:
        """See `Engine`."""
        backbone = self.manifest.backbone
        embeddings = np.zeros((len(vocabulary.labels), backbone.embed_dim), np.float32)
        for batch in text_batches(vocabulary.labels, backbone.prompts):
            (features,) = self._graphs["text_tower"](token_ids=self._tokenize(batch.texts))
            counts = batch.counts[:, None].astype(np.float32)
            np.add.at(embeddings, batch.rows, np.where(counts > 1, _normalize(features) / counts, features))
            if progress is not None:
                progress(batch.labels_done)
        encoded = LabelArrays(embeddings, self._refine(embeddings))
        if self._calibrator is None:
            return encoded
        background = self._calibrator.background.photographs
        if self._evidence is not None:
            rows = self._evidence.describe(vocabulary.labels, encoded.refined, background)
            encoded = replace(encoded, evidence=rows)
        logits = self.score_kept(background, encoded)
        calibration = (
            self._calibrator.calibrate(embeddings, logits)
            if self._evidence is None
            else calibrated_already(len(logits.T), self.default_threshold)
        )
        return replace(encoded, calibration=calibration, background=np.ascontiguousarray(logits.T))

    def pack_labels(self, label_features: LabelArrays) -> dict[str, Array]:
        """See `Engine`."""
        return {name: getattr(label_features, name) for name in self._packed}

    def unpack_labels(self, arrays: Mapping[str, Array]) -> LabelArrays:
        """See `Engine`."""
        check_label_arrays(arrays, self._packed)
        return LabelArrays(**arrays)

    def score(self, image_features: ImageArrays, label_features: LabelArrays) -> Array:
        """See `Engine`. Memory grows with the labels by the scores alone, and in the published form by the
        label queries of SVFR."""
        if self._evidence is not None:
            found = self._photographs(image_features)
            return self._evidence.score(found, label_features.refined, label_features.evidence)
        parts = self._compare("match", image_features, label_features)
        if self._head.independent_scores:
            return parts[0]
        if self._head.normalize_scores:
            parts = [_normalize(part) for part in parts]
        mean: Array = np.mean(parts, axis=0)
        return mean

    def probabilities(self, logits: Array, label_features: LabelArrays) -> Array:
        """See `Engine` and `sigrl.model.calibration`."""
        return probabilities(logits, self._head.form, label_features.calibration)

    def thresholds(self, label_features: LabelArrays) -> Array:
        """See `Engine`."""
        return thresholds(label_features.calibration, len(label_features.refined), self.default_threshold)

    def background_logits(self, label_features: LabelArrays) -> Array | None:
        """See `Engine`."""
        return None if label_features.background is None else label_features.background.T

    def thresholds_for(self, label_features: LabelArrays, goal: EverydayGoal) -> Array:
        """See `Engine`."""
        background = self.background_logits(label_features)
        if background is None:
            raise ValueError(NO_BACKGROUND)
        return everyday_thresholds(self.probabilities(background, label_features), goal)

    def familiarity(self, label_features: LabelArrays) -> Array | None:
        """See `Engine`."""
        rows = label_features.evidence
        return None if self._evidence is None or rows is None else self._evidence.familiarity(rows)

    def keep_images(self, image_features: ImageArrays) -> KeptFeatures:
        """See `Engine`."""
        if self._evidence is not None:
            found = self._photographs(image_features)
            return keep(found.embeddings, found.tokens, found.word_logits)
        rebuilt = image_features.rebuilt_tokens
        tokens = image_features.patch_tokens if rebuilt is None else rebuilt
        if self._head.kind == "clip":
            tokens = np.zeros_like(tokens[:, :1])
        return keep(image_features.image_embeddings, tokens)

    def score_kept(self, photographs: KeptFeatures, label_features: LabelArrays) -> Array:
        """See `Engine`."""
        if self._evidence is not None:
            return self._evidence.score_kept(photographs, label_features.refined, label_features.evidence)

        def score(image_embeddings: Array, patch_tokens: Array, _: Array | None) -> Array:
            if self._head.kind == "clip":
                # It matches none, but the graph asks for as many as a photograph has.
                shape = (len(image_embeddings), self._grid[0] * self._grid[1], image_embeddings.shape[1])
                patch_tokens = np.zeros(shape, np.float32)
            images = ImageArrays(image_embeddings, patch_tokens, self._grid, rebuilt_tokens=patch_tokens)
            return self.score(images, label_features)

        return photographs.logits(score)

    def calibrate_by_examples(
        self,
        label_features: LabelArrays,
        examples: KeptFeatures | None,
        labels: npt.NDArray[np.int8],
        goal: Goal,
    ) -> LabelArrays:
        """See `Engine`."""
        fitted = fit_labels(
            label_features.calibration,
            None if examples is None else self.score_kept(examples, label_features),
            labels,
            goal,
            background=self.background_logits(label_features),
            form=self._head.form,
            default_threshold=self.default_threshold,
        )
        return replace(label_features, calibration=fitted)

    def image_embeddings(self, image_features: ImageArrays) -> Array:
        """See `Engine`."""
        return _normalize(image_features.image_embeddings)

    def label_embeddings(self, label_features: LabelArrays) -> Array:
        """See `Engine`."""
        return _normalize(label_features.refined if self._in_context else label_features.label_embeddings)

    def explain(self, image_features: ImageArrays, label_features: LabelArrays) -> Array:
        """See `Engine`. An evidence head gives logits (`region_maps`); other heads give cosines in the
        context form and dot products in the published form."""
        if self._evidence is not None:
            assert image_features.region_features is not None
            regions = Regions(*self._graphs["read_regions"](region_features=image_features.region_features))
            labels = label_features.refined, label_features.evidence
            return region_maps(self._evidence, regions, *labels, image_features.grid)
        (local,) = self._compare("explain", image_features, label_features)
        return local.reshape(*local.shape[:2], *image_features.grid)

    def _photographs(self, images: ImageArrays) -> Photographs:
        assert images.word_logits is not None
        tokens = pool_tokens(images.patch_tokens, images.grid)
        return Photographs(images.image_embeddings, tokens, images.word_logits)

    def _compare(self, graph: str, images: ImageArrays, labels: LabelArrays) -> list[Array]:
        """Outputs of `match` or `explain` [B, C, ...], made block by block."""
        tokens = images.patch_tokens if images.rebuilt_tokens is None else images.rebuilt_tokens
        if not self._in_context and "decouple" in self._graphs:
            count = len(labels.refined)
            # All rows, where there is no limit.
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
        """SVFR: `tokens` [B, P, D], labels of both kinds [C, D] -> [B, P, D]; see `sigrl.model.svfr`."""
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

    def _refine(self, embeddings: Array) -> Array:
        """What the graph over the labels makes of them: [C, D] -> [C, D]; see `sigrl.model.gmc`."""
        if "refine" in self._graphs:
            sources = max(1, len(self._head.context_labels)) * embeddings.shape[1]
            return self._by_rows("refine", embeddings, sources)
        if "graph_nodes" not in self._graphs:
            return embeddings
        nodes = self._by_rows("graph_nodes", embeddings, embeddings.shape[1])
        nodes = self._by_rows("graph_hidden", nodes, nodes.size, sources=nodes)
        return self._by_rows("graph_output", nodes, nodes.size, sources=nodes)

    def _by_rows(self, graph: str, rows: Array, size: int, **others: Array) -> Array:
        """The graph of all rows, each of which needs a tensor of `size` numbers."""
        blocks = self._blocks(len(rows), size)
        return np.concatenate([self._graphs[graph](rows=rows[block], **others)[0] for block in blocks])

    def _blocks(self, length: int, size: int) -> Iterator[slice]:
        """Cuts `range(length)`; each item needs a tensor of `size` numbers."""
        step = max(1, self._block_bytes // (4 * max(1, size)))
        return (slice(start, start + step) for start in range(0, length, step))


def _head_arrays(files: BundleFiles) -> dict[str, Array]:
    """The head's tensors by their names within it; only an evidence head needs them here."""
    if files.manifest.head.evidence is None:
        return {}
    stored = load(files.contents[WEIGHTS])
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
        else:
            tokenize = ClipTokenizer(files.contents[ONNX_TOKENIZER])
        return with_prompt(tokenize, backbone)
    except ValueError as error:
        raise BundleError(f"{error}: make the bundle again") from error


def _normalize(features: Array) -> Array:
    """[..., D] with unit norm."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    normalized: Array = features / np.maximum(norms, np.float32(1e-12))
    return normalized
