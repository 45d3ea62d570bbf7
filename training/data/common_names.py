"""Names of what photographs commonly show: the first WordNet name of each ImageNet-12k class, from timm's
list."""

import sigrl.model.torchvision_cure  # noqa: F401 (before timm, which imports torchvision)

# isort: split
from collections.abc import Iterable

import numpy as np
from timm.data import ImageNetInfo

from sigrl.model.vocabulary import MAX_NAME_LENGTH


def common_names(count: int, without: Iterable[str] = ()) -> list[str]:
    """`count` names, evenly spaced in the sorted list, without those in `without` (case is ignored)."""
    info = ImageNetInfo("imagenet-12k")
    described = (info.label_name_to_description(synset, detailed=False) for synset in info.label_names())
    left_out = {name.casefold() for name in without}
    names = {name.split(",")[0].strip().lower() for name in described if name}
    usable = sorted(name for name in names if 0 < len(name) <= MAX_NAME_LENGTH and name not in left_out)
    places = np.linspace(0, len(usable) - 1, min(count, len(usable))).astype(int)
    return [usable[place] for place in places]
