"""Relations between labels: a narrower label implies the broader one, and some labels exclude each other."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sigrl.model.vocabulary import Label

MAX_LEVELS = 32
"""Maximum number of labels on the way from the broadest to the narrowest; levels are settled one by one."""

Floats: TypeAlias = npt.NDArray[np.floating]
Booleans: TypeAlias = npt.NDArray[np.bool_]


class Hierarchy:
    """The relations between C labels, and their consequences for probabilities and decisions.

    Built once per vocabulary. If no label has a parent or a group, all methods return their input.
    """

    def __init__(self, labels: Sequence["Label"]) -> None:
        """Raises ValueError if a parent is not among the labels, if the parents form a cycle or more than 32
        levels, or if a group has one member or members with different parents."""
        rows = {label.name.casefold(): row for row, label in enumerate(labels)}
        parents = np.array([_parent_row(label, rows) for label in labels], dtype=np.int64)
        depths = _depths(labels, parents)
        groups = _groups(labels, parents)
        self._levels = [
            _Level(
                children=np.flatnonzero(depths == depth),
                parents=parents[depths == depth],
                groups=[members for members in groups if depths[members[0]] == depth],
            )
            for depth in range(int(depths.max(initial=0)) + 1)
        ]
        self._trivial = len(self._levels) == 1 and not groups

    def settle(self, probabilities: Floats) -> Floats:
        """Makes probabilities consistent: a parent's is at least each child's, and of labels that exclude
        each other, all but the most probable have at most one minus the highest probability.

        [..., C] -> [..., C]
        """
        if self._trivial:
            return probabilities
        settled = probabilities.T.copy()
        for level in self._levels[:0:-1]:
            np.maximum.at(settled, level.parents, settled[level.children])
        for level in self._levels:
            if level.has_parents:
                settled[level.children] = np.minimum(settled[level.children], settled[level.parents])
            for members in level.groups:
                values = settled[members]
                left = np.minimum(values, 1 - values.max(axis=0))
                settled[members] = np.where(_is_first_best(values), values, left)
        return settled.T

    def accept(self, probabilities: Floats, thresholds: Floats) -> Booleans:
        """Which labels count as present: those that reach their threshold, and all their parents. Of labels
        that exclude each other, only the most probable one that counts, and nothing below the others.

        `probabilities` [..., C], settled; `thresholds` [C] -> [..., C]
        """
        reached = probabilities >= thresholds
        if self._trivial:
            return reached
        values, accepted = probabilities.T, reached.T.copy()
        for level in self._levels[:0:-1]:
            np.logical_or.at(accepted, level.parents, accepted[level.children])
        for level in self._levels:
            if level.has_parents:
                accepted[level.children] &= accepted[level.parents]
            for members in level.groups:
                accepted[members] &= _is_first_best(np.where(accepted[members], values[members], -1.0))
        return accepted.T

    def narrowest(self, accepted: Booleans) -> Booleans:
        """The present labels without a present label below them; takes the result of `accept`, [..., C] ->
        [..., C]."""
        if self._trivial:
            return accepted
        values = accepted.T
        implied = np.zeros_like(values)
        for level in self._levels[1:]:
            # If a label far below counts, those in between count too.
            np.logical_or.at(implied, level.parents, values[level.children])
        return (values & ~implied).T


def _is_first_best(values: Floats) -> Booleans:
    """[M, ...] -> [M, ...]: True at the maximum along the first axis; of equal values, the first."""
    rows = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    first_best: Booleans = rows == values.argmax(axis=0)
    return first_best


class _Level:
    """Labels at the same distance from the top."""

    def __init__(
        self,
        children: npt.NDArray[np.int64],
        parents: npt.NDArray[np.int64],
        groups: list[npt.NDArray[np.int64]],
    ) -> None:
        self.children = children
        self.parents = parents
        self.groups = groups
        self.has_parents = bool(len(parents)) and bool(parents[0] >= 0)


def _parent_row(label: "Label", rows: dict[str, int]) -> int:
    if label.parent is None:
        return -1
    row = rows.get(label.parent.casefold())
    if row is None:
        raise ValueError(f"the parent '{label.parent}' of '{label.name}' is not in the vocabulary: add it")
    return row


def _depths(labels: Sequence["Label"], parents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number of labels above each label, [C]."""
    depths = np.zeros(len(parents), dtype=np.int64)
    above = parents.copy()
    while (below := above >= 0).any():
        depths[below] += 1
        above[below] = parents[above[below]]
        if depths.max() >= MAX_LEVELS:
            _complain_of_depth(labels, parents, int(np.flatnonzero(below)[0]))
    return depths


def _complain_of_depth(labels: Sequence["Label"], parents: npt.NDArray[np.int64], start: int) -> None:
    seen: set[int] = set()
    row = start
    while row >= 0:
        if row in seen:
            raise ValueError(f"the parents of '{labels[row].name}' form a cycle: break it")
        seen.add(row)
        row = int(parents[row])
    raise ValueError(f"'{labels[start].name}' has more than {MAX_LEVELS} levels of parents: remove some")


def _groups(labels: Sequence["Label"], parents: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Row indices of the labels that exclude each other, per group."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        if label.exclusive_group is not None:
            groups[label.exclusive_group.casefold()].append(row)
    for members in groups.values():
        first = labels[members[0]]
        if len(members) == 1:
            raise ValueError(
                f"'{first.name}' is the only label of the exclusive group '{first.exclusive_group}': give "
                "the group to a second label, or remove it"
            )
        stray = next((row for row in members if parents[row] != parents[members[0]]), None)
        if stray is not None:
            raise ValueError(
                f"'{first.name}' and '{labels[stray].name}' exclude each other as "
                f"'{first.exclusive_group}', and have different parents: give both the same parent, or none"
            )
    return [np.array(members, dtype=np.int64) for members in groups.values()]
