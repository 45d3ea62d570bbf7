"""TagCLIP as its published code computes it (classify.py, utils.py, clip/clip_model.py), in NumPy, for one
photograph. A label whose crop is empty keeps its local score; the published code then skips all labels after
it, too."""

from collections.abc import Iterator

import numpy as np

Array = np.ndarray
Weights = dict[str, Array]
QUICK_GELU = 1.702


def softmax(array: Array) -> Array:
    powers = np.exp(array - array.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def unit(array: Array) -> Array:
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def layer_norm(values: Array, weights: Weights, name: str) -> Array:
    centred = values - values.mean(-1, keepdims=True)
    scaled = centred / np.sqrt(values.var(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def tower(pixels: Array, weights: Weights, heads: int, crop_mask: Array | None) -> tuple[Array, list[Array]]:
    """All tokens [1 + P, D] of a photograph [3, S, S], and each block's attention [1 + P, 1 + P] without
    a mask. The last block is masked, or, with `crop_mask`, every block by that."""
    kernel = weights["conv1.weight"]
    patch, side = kernel.shape[-1], pixels.shape[-1] // kernel.shape[-1]
    patches = pixels.reshape(3, side, patch, side, patch).transpose(1, 3, 0, 2, 4).reshape(side**2, -1)
    tokens = np.concatenate([weights["class_embedding"][None], patches @ kernel.reshape(len(kernel), -1).T])
    tokens = layer_norm(tokens + weights["positional_embedding"], weights, "ln_pre")
    attentions = []
    layers = 1 + max(int(name.split(".")[2]) for name in weights if "resblocks" in name)
    for layer in range(layers):
        own = f"transformer.resblocks.{layer}"
        normed = layer_norm(tokens, weights, f"{own}.ln_1")
        projected = normed @ weights[f"{own}.attn.in_proj_weight"].T + weights[f"{own}.attn.in_proj_bias"]
        query, key, value = (
            part.reshape(len(tokens), heads, -1).swapaxes(0, 1) for part in np.split(projected, 3, axis=1)
        )
        logits = query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1])
        mask = np.zeros(logits.shape[1:]) if crop_mask is None else crop_mask
        if crop_mask is None and layer == layers - 1:
            mask = -100 * (1 - np.eye(len(tokens)))
        attended = (softmax(logits + mask) @ value).swapaxes(0, 1).reshape(len(tokens), -1)
        tokens = tokens + attended @ weights[f"{own}.attn.out_proj.weight"].T
        tokens = tokens + weights[f"{own}.attn.out_proj.bias"]
        hidden = layer_norm(tokens, weights, f"{own}.ln_2") @ weights[f"{own}.mlp.c_fc.weight"].T
        hidden = hidden + weights[f"{own}.mlp.c_fc.bias"]
        hidden = hidden / (1 + np.exp(-QUICK_GELU * hidden))
        tokens = tokens + hidden @ weights[f"{own}.mlp.c_proj.weight"].T + weights[f"{own}.mlp.c_proj.bias"]
        attentions.append(softmax(logits).mean(0))
    return layer_norm(tokens, weights, "ln_post") @ weights["proj"], attentions


def groups(inside: Array) -> Iterator[tuple[Array, Array]]:
    """The rows and the columns of each group of cells that touch, at corners too."""
    left = set(zip(*np.nonzero(inside), strict=True))
    while left:
        group, edge = [], [left.pop()]
        while edge:
            row, column = edge.pop()
            group.append((row, column))
            near = {cell for cell in left if abs(cell[0] - row) < 2 and abs(cell[1] - column) < 2}
            left -= near
            edge += near
        rows, columns = np.array(group).T
        yield rows, columns


def boxed(scores: Array) -> Array:
    """`scoremap2bbox` and the mask that `mask_attn` makes of it, for a map [h, w]."""
    stretched = (scores - scores.min()) / (scores.max() - scores.min())
    levels = (stretched * 255).astype(np.uint8)
    mask = np.zeros(scores.shape)
    for rows, columns in groups(levels > int(stretched.mean() * levels.max())):
        bottom, right = min(rows.max() + 1, len(scores) - 1), min(columns.max() + 1, scores.shape[1] - 1)
        mask[rows.min() : bottom, columns.min() : right] = 1
    return mask


def resized(image: Array, side: int) -> Array:
    """`interpolate(mode="bilinear", align_corners=False)` of [3, h, w] to a square."""
    for axis in (1, 2):
        size = image.shape[axis]
        places = np.maximum((np.arange(side) + 0.5) * size / side - 0.5, 0)
        before = places.astype(int)
        share = (places - before).reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        after = np.minimum(before + 1, size - 1)
        image = image.take(before, axis) * (1 - share) + image.take(after, axis) * share
    return image


def scores(
    pixels: Array, weights: Weights, heads: int, texts: Array, labels: int, scale: float
) -> tuple[Array, Array, list[int]]:
    """(scores [C] of the first C texts, refined scores [P, C'] of all, labels that were looked at again)."""
    texts = unit(texts)
    tokens, attentions = tower(pixels, weights, heads, None)
    between = np.stack(attentions)[:, 1:, 1:]
    votes = (between > between.mean((1, 2), keepdims=True)).sum(0)
    affinity = between[8:-1].mean(0) * (votes >= 4)
    coarse = softmax(scale * unit(tokens[1:]) @ texts.T)
    side = int(np.sqrt(len(coarse)))
    refined = affinity @ coarse
    for label in range(len(texts)):
        mask = boxed(refined[:, label].reshape(side, side)).reshape(1, -1)
        refined[:, label] = (affinity * mask) @ coarse[:, label]
    found = refined.max(0)[:labels]
    threshold = refined.min() + 0.5 * (refined.max() - refined.min())
    patch, again = pixels.shape[-1] // side, []
    for label in np.flatnonzero(found > threshold):
        own = refined[:, label] - refined[:, label].min()
        mask = (own / own.max() > 0.5).reshape(side, side)
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        top, bottom = rows[0], min(rows[-1] + 1, side - 1)
        left, right = columns[0], min(columns[-1] + 1, side - 1)
        if top == bottom or left == right:
            continue
        inner = mask[top:bottom, left:right]
        nearest = [np.arange(side) * length // side for length in inner.shape]
        crop_mask = np.zeros((1 + side**2, 1 + side**2))
        crop_mask[0, 1:][~inner[np.ix_(*nearest)].ravel()] = -1000
        cut = pixels[:, top * patch : bottom * patch, left * patch : right * patch]
        seen, _ = tower(resized(cut, pixels.shape[-1]), weights, heads, crop_mask)
        found[label] = (found[label] + softmax(scale * unit(seen[0]) @ texts.T)[label]) / 2
        again.append(int(label))
    return found, refined, again
