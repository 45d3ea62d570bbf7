"""Photographs and texts as features of the trained parts, in the form that a bundle uses."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sigrl.model.kept_features import KeptFeatures, join, keep
from sigrl.training.tasks.everyday.trained import Trained

_BATCH = 200


@torch.inference_mode()
def keep_photographs(
    trained: Trained, rows: npt.NDArray[np.integer], words: npt.NDArray[np.integer]
) -> KeptFeatures:
    """The stored features of at least one photograph, as an engine stores them; `words` are the known words
    with their own logit."""
    weight, bias = trained.start.classifier
    kept = []
    for part in np.split(rows, range(_BATCH, len(rows), _BATCH)):
        untouched = torch.from_numpy(trained.features.pooled[part].astype(np.float32))
        seen = trained.network(trained.features.maps(part), untouched)
        classes = untouched[:, : weight.shape[1]] @ weight.T + bias
        logits = torch.cat([seen.known[:, words], classes], dim=1)
        kept.append(keep(seen.embedding.numpy(), seen.tokens.numpy(), logits.numpy()))
    return join(kept)


@torch.inference_mode()
def text_vectors(trained: Trained, texts: Sequence[str], description: str) -> npt.NDArray[np.float32]:
    """Embeddings [N, E] of texts in the joint space, with unit norm; `description` is shown in the progress
    bar."""
    embeddings = trained.start.text_embeddings(texts, trained.config.cache, description)
    vectors: npt.NDArray[np.float32] = functional.normalize(
        trained.network.heads.text_map(embeddings), dim=-1
    ).numpy()
    return vectors
