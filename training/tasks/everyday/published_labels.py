"""Labels of all of COCO's categories for `coco_course`, whose files have lost COCO's ids.

Its files are numbered in the order of these ids. About half of them are also in COCO's layout, with their
ids, and are recognised by their captions. Between two of these only few ids are possible: the order must
hold, and the published labels must be the photograph's own where these are known.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.readers import FIRST_LABELS

Labels = frozenset[str]
_FILES = ("train_cls.txt", "val_cls.txt")


def with_published_labels(
    photographs: Sequence[Photograph],
    identified: Sequence[Photograph],
    published: Mapping[int, Labels],
    label_names: Sequence[str],
) -> list[Photograph]:
    """The photographs of `coco_course`, with every label on which all possible ids agree.

    Those without labels of their own stay as they are, and so do those between two `identified` photographs
    where no ids fit. Raises DataError for a file without a number in its name.

    Args:
        identified: photographs in COCO's layout, with ids in their file names.
        published: COCO's id -> labels, as from `read_published_labels`.
        label_names: the names of all categories.
    """
    numbered = {_number(one): one for one in photographs if one.coco_known}
    ids = _ids(numbered, identified, published)
    candidates = sorted(number for number, labels in published.items() if labels & FIRST_LABELS)
    possible: dict[int, list[Labels]] = {number: [published[one]] for number, one in ids.items()}
    for (first, lowest), (last, highest) in pairwise(ids.items()):
        between = [number for number in range(first + 1, last) if number in numbered]
        free = candidates[bisect_right(candidates, lowest) : bisect_left(candidates, highest)]
        fits = [
            [published[one] & FIRST_LABELS == numbered[number].coco_positive for one in free]
            for number in between
        ]
        of_gap = np.array(fits, dtype=bool).reshape(len(between), len(free))
        for number, places in zip(between, possible_places(of_gap), strict=True):
            possible[number] = [published[free[place]] for place in np.flatnonzero(places)]
    every = frozenset(label_names)
    return [_told(one, possible.get(_number(one), []), every) for one in photographs]


def read_published_labels(folder: Path, label_names: Sequence[str]) -> dict[int, Labels]:
    """COCO's id -> labels, from lines `COCO_<split>_<id> <category> ...`, with categories counted from 0 in
    the order of `label_names`. Raises DataError."""
    published = {}
    for path in (folder / name for name in _FILES):
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                name, *categories = line.split()
                published[_last_number(name)] = frozenset(label_names[int(one)] for one in categories)
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist: correct `coco_labels`, or leave it out") from error
        except (ValueError, IndexError) as error:
            raise DataError(f"{path} is not a list of COCO's labels ({error}): download it again") from error
    return published


def _number(photograph: Photograph) -> int:
    """Of `9.jpg` and of `COCO_train2014_000000000009.jpg`: 9. Raises DataError for another form."""
    try:
        return _last_number(photograph.path.stem)
    except ValueError as error:
        raise DataError(
            f"{photograph.path} has no number in its name, which `coco_labels` needs: leave that setting out"
        ) from error


def _last_number(name: str) -> int:
    return int(name.rpartition("_")[2])


def possible_places(fits: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """[m, n]: the places that each of m items may have when their places rise and every item has one where
    it `fits` [m, n]; none at all if the items cannot be placed."""
    places = np.arange(fits.shape[1])
    earliest = _earliest(fits)
    latest = fits.shape[1] - 1 - _earliest(fits[::-1, ::-1])[::-1]
    possible: npt.NDArray[np.bool_] = fits & (earliest[:, None] <= places) & (places <= latest[:, None])
    return possible if possible.any(axis=1).all() else np.zeros_like(fits)


def _earliest(fits: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """[m]: the first place of each item that leaves room for those before it; n if there is none."""
    earliest = np.full(len(fits), fits.shape[1])
    first = 0
    for item, places in enumerate(fits):
        found = first + np.flatnonzero(places[first:])
        if not len(found):
            break
        earliest[item] = found[0]
        first = found[0] + 1
    return earliest


def _ids(
    numbered: Mapping[int, Photograph], identified: Iterable[Photograph], published: Mapping[int, Labels]
) -> dict[int, int]:
    """Number of a file -> its id, in rising order of both, for photographs recognised by a caption that
    occurs once."""
    counts = Counter(caption for one in numbered.values() for caption in one.captions)
    id_of = {caption: _number(one) for one in identified for caption in one.captions}
    found = [
        (number, id_of[caption])
        for number, one in sorted(numbered.items())
        for caption in one.captions
        if counts[caption] == 1
        and caption in id_of
        and published.get(id_of[caption], frozenset()) & FIRST_LABELS == one.coco_positive
    ]
    return _rising(found)


def _rising(pairs: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The longest part of the pairs in which the second numbers rise as the first ones do."""
    ends: list[int] = []
    """The smallest end of a chain of each length."""
    last: list[int] = []
    """The pair with that end."""
    before: list[int | None] = []
    """The pair before each pair in the longest chain that it ends."""
    for number, (_, second) in enumerate(pairs):
        length = bisect_left(ends, second)
        before.append(last[length - 1] if length else None)
        ends[length : length + 1] = [second]
        last[length : length + 1] = [number]
    chain = []
    place = last[-1] if last else None
    while place is not None:
        chain.append(pairs[place])
        place = before[place]
    return dict(reversed(chain))


def _told(photograph: Photograph, possible: Sequence[Labels], every: Labels) -> Photograph:
    if not possible:
        return photograph
    agreed = frozenset.intersection(*possible)
    known = every - (frozenset.union(*possible) - agreed)
    return replace(photograph, coco_positive=photograph.coco_positive | agreed, coco_known=known)
