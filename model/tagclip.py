"""The head of TagCLIP (Lin et al.: A Local-to-Global Framework to Enhance Open-Vocabulary Multi-Label
Classification of CLIP Without Training, AAAI 2024, arXiv 2312.12828).

Patches are classified by their texts, the attention between them refines their scores, and the part of the
photograph that shows a likely label passes through the image tower once more. Formulas and constants are
those of the published code (github.com/linyq2117/TagCLIP, classify.py), for VOC and COCO.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.blocks import block_slices
from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.label_areas import Crop, boxes, crop
from sigrl.model.matching import MatchingHead

MOST_CROPS = 16
"""Labels of a photograph that are looked at again, the likeliest first. The published code has no limit; here
it bounds the time that a photograph can take."""
_CROPS_AT_ONCE = 8
"""It bounds the memory of the image tower."""
_LIKELY = 0.5
"""A label is looked at again if its score lies in this upper part of the range of all patches' scores."""
_CROP_SHARE = 0.5

EncodeSeeing = Callable[[Tensor, Tensor], Tensor]
"""See `sigrl.model.attention_tower.encode_seeing`."""


class TagclipHead(MatchingHead):
    """Local matching refined by attention, and crops of likely labels. Published form only: a label's score
    depends on the others. The configuration's `context_labels` are the background: names that compete for
    patches and are never tags."""

    context_label_embeddings: Tensor
    scale: Tensor
    """The scale of cosines, from CLIP's training."""

    def __init__(self, config: HeadConfig, embed_dim: int) -> None:
        super().__init__(config)
        self.register_buffer("context_label_embeddings", torch.zeros(len(config.context_labels), embed_dim))
        self.register_buffer("scale", torch.tensor(100.0))
        self.encode_seeing: EncodeSeeing | None = None
        """Passes crops through the image tower; set by the model that has the tower."""

    def local_scores(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """The probability of each label on each patch [B, P, C], refined by attention."""
        texts = self._texts(label_features)
        count = len(label_features.label_embeddings)
        return torch.stack([refined[:, :count] for refined in self._refined(image_features, texts)])

    def score(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """See `MatchingHead`. Raises ValueError for photographs whose pixel values were not kept."""
        if image_features.pixel_values is None:
            raise ValueError(
                "a tagclip head passes parts of the photograph through the image tower again, and only "
                "features of it were kept"
            )
        texts, count = self._texts(label_features), len(label_features.label_embeddings)
        scores = []
        for pixels, refined in zip(
            image_features.pixel_values, self._refined(image_features, texts), strict=True
        ):
            of_photograph = refined[:, :count].amax(dim=0)
            if crops := find_crops(refined, count, image_features.grid):
                rows = torch.tensor(list(crops), device=texts.device)
                again = self._look_again(torch.from_numpy(pixels).to(texts), list(crops.values()), texts)
                on_crop = again.gather(1, rows[:, None])[:, 0]
                of_photograph[rows] += _CROP_SHARE * (on_crop - of_photograph[rows])
            scores.append(of_photograph)
        return torch.stack(scores)

    def _texts(self, label_features: LabelFeatures) -> Tensor:
        """The labels, then the background without names that are asked for, in unit norm [C', D]."""
        background = self.context_label_embeddings
        if label_features.evidence is not None:
            asked = torch.from_numpy(label_features.evidence.any(axis=0)).to(background.device)
            background = background[~asked]
        return functional.normalize(torch.cat([label_features.label_embeddings, background]), dim=-1)

    def _refined(self, images: ImageFeatures, texts: Tensor) -> Iterator[Tensor]:
        """For each photograph, the refined scores [P, C'] of its patches."""
        assert images.affinities is not None
        tokens = functional.normalize(images.patch_tokens, dim=-1)
        for own, affinity in zip(tokens, images.affinities, strict=True):
            yield refine((self.scale * own @ texts.mT).softmax(dim=-1), affinity, images.grid)

    def _look_again(self, pixel_values: Tensor, crops: Sequence[Crop], texts: Tensor) -> Tensor:
        """The probabilities [N, C'] of all texts on N crops of a photograph [3, S, S]."""
        assert self.encode_seeing is not None
        probabilities = []
        for start in range(0, len(crops), _CROPS_AT_ONCE):
            some = crops[start : start + _CROPS_AT_ONCE]
            cut = torch.cat([cut_out(pixel_values, each) for each in some])
            seen = torch.stack([each.seen.flatten() for each in some])
            embeddings = functional.normalize(self.encode_seeing(cut, seen).to(texts), dim=-1)
            probabilities.append((self.scale * embeddings @ texts.mT).softmax(dim=-1))
        return torch.cat(probabilities)


def refine(coarse: Tensor, affinity: Tensor, grid: tuple[int, int]) -> Tensor:
    """Dual-masking attention refinement: scores [P, C] of patches -> refined scores [P, C].

    Each patch takes the scores of others by its `affinity` [P, P] to them, whose weak entries are zero: the
    first mask. The second mask leaves out patches far from where the label is, by a first refinement.
    """
    refined = torch.empty_like(coarse)
    # Finding boxes takes about ten numbers for each patch and label.
    for block in block_slices(coarse.shape[1], coarse[:, :1].expand(-1, 10)):
        own = coarse[:, block]
        near = boxes((affinity @ own).mT.reshape(-1, *grid)).flatten(1).mT
        refined[:, block] = affinity @ (own * near)
    return refined


def find_crops(refined: Tensor, count: int, grid: tuple[int, int]) -> dict[int, Crop]:
    """The crops of a photograph by label, likeliest first. In the refined scores [P, C'], the first `count`
    columns belong to labels and the others to the background."""
    lowest, highest = refined.amin(), refined.amax()
    best, rows = refined[:, :count].amax(dim=0).sort(descending=True, stable=True)
    likely = rows[best > lowest + _LIKELY * (highest - lowest)][:MOST_CROPS].tolist()
    found = {row: crop(refined[:, row].view(grid)) for row in likely}
    return {row: each for row, each in found.items() if each is not None}


def cut_out(pixel_values: Tensor, area: Crop) -> Tensor:
    """A crop of a photograph [3, S, S], enlarged to the image tower's input [1, 3, S, S]."""
    side = pixel_values.shape[-1]
    patch = side // area.seen.shape[0]
    rows = slice(area.top * patch, area.bottom * patch)
    columns = slice(area.left * patch, area.right * patch)
    part = pixel_values[None, :, rows, columns]
    return functional.interpolate(part, size=(side, side), mode="bilinear", align_corners=False)
