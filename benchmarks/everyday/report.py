"""The numbers of a run, and the tables that show them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from benchmarks.everyday.labelled import Photographs
from benchmarks.everyday.measures import (
    Booleans,
    Decisions,
    NameCounts,
    Numbers,
    all_measures,
    counted_names,
    deviations,
    name_counts,
    oracle_thresholds,
    pair_measures,
)
from benchmarks.measuring import markdown_table

EVERYDAY = "`everyday` at its defaults"
ORACLE = "… with an oracle's threshold for each label, chosen here"
BRIEF = "the brief answer (no options)"
IMPLIED = "… with the broader labels that it implies"
_WORST = 20
_COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "shown": "tags shown",
    "map": "mAP",
    "ece": "ECE",
    "person": "`person` where there is none",
    "nothing_right": "nothing right",
    "nothing_shown": "nothing shown",
}


@dataclass(frozen=True)
class Kind:
    """The photographs from one source."""

    photographs: int
    f1: float
    """Measures of `everyday` at its defaults."""
    brief_precision: float


@dataclass(frozen=True)
class Section:
    """The measures on one set of photographs; in percent, except for the number of tags shown."""

    photographs: int
    names_in_map: int
    measures: dict[str, Numbers]
    """Measures by way of tagging."""
    deviations: dict[str, Numbers]
    """Their standard deviations by the bootstrap over photographs."""
    left_out: dict[str, Numbers] = field(default_factory=dict)
    """Measures over only the names that were left out of all supervision."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    most_wrong: list[NameCounts] = field(default_factory=list)
    most_missed: list[NameCounts] = field(default_factory=list)


def section(photographs: Photographs, ways: Mapping[str, Decisions], left_out: Booleans) -> Section:
    """Measures each way of tagging, which include `everyday` and the brief answer, on their `photographs`;
    `left_out` [C] marks the names left out of all supervision, possibly none."""
    labels, counted = photographs.labels, counted_names(photographs.labels)
    person = photographs.names.index("person")
    compared: dict[str, Decisions] = {}
    for name, said in ways.items():
        compared[name] = said
        if name == EVERYDAY and said.probabilities is not None:
            shown = said.probabilities >= oracle_thresholds(said.probabilities, labels)
            compared[ORACLE] = Decisions.of(shown)

    def measured(said: Decisions, rows: npt.NDArray[np.int64]) -> Numbers:
        return all_measures(said.photographs(rows), labels[rows], person, counted)

    everything = np.arange(len(labels))
    counts = name_counts(ways[EVERYDAY].shown, labels, photographs.names)
    return Section(
        photographs=len(labels),
        names_in_map=int(counted.sum()),
        measures={name: measured(said, everything) for name, said in compared.items()},
        deviations={
            name: deviations(partial(measured, said), len(labels)) for name, said in compared.items()
        },
        left_out={
            name: pair_measures(said.names(left_out), labels[:, left_out], counted[left_out])
            for name, said in compared.items()
            if left_out.any()
        },
        kinds=_kinds(photographs, ways),
        most_wrong=sorted(counts, key=attrgetter("wrong"), reverse=True)[:_WORST],
        most_missed=sorted(counts, key=attrgetter("missed"), reverse=True)[:_WORST],
    )


def _kinds(photographs: Photographs, ways: Mapping[str, Decisions]) -> dict[str, Kind]:
    found = {}
    for kind in np.unique(photographs.kinds):
        rows = photographs.kinds == kind
        # Without average precision, because some kinds have only a few photographs.
        measures = {
            name: pair_measures(
                Decisions(ways[name].shown[rows], ways[name].counts[rows]),
                photographs.labels[rows],
                np.zeros(len(photographs.names), bool),
            )
            for name in (EVERYDAY, BRIEF)
        }
        found[str(kind)] = Kind(int(rows.sum()), measures[EVERYDAY]["f1"], measures[BRIEF]["precision"])
    return found


def section_text(title: str, found: Section) -> str:
    """The report as Markdown."""
    header = ["", *_COLUMNS.values()]
    rows = [
        [name, *(_cell(measures, found.deviations[name], column) for column in _COLUMNS)]
        for name, measures in found.measures.items()
    ]
    parts = [
        f"## {title}: {found.photographs} photographs, mAP over {found.names_in_map} names",
        markdown_table(header, rows),
    ]
    if found.left_out:
        columns = ("precision", "recall", "f1", "map", "ece")
        left = [
            [name, *(_cell(numbers, {}, column) for column in columns)]
            for name, numbers in found.left_out.items()
        ]
        heading = ["only names left out of all supervision", *(_COLUMNS[column] for column in columns)]
        parts.append(markdown_table(heading, left))
    if found.kinds:
        kinds = [
            [name, str(kind.photographs), f"{kind.f1:.1f}", f"{kind.brief_precision:.1f}"]
            for name, kind in found.kinds.items()
        ]
        parts.append(markdown_table(["kind", "photographs", "F1", "precision of the brief answer"], kinds))
    for worst, names in (("most often shown wrongly", found.most_wrong), ("missed", found.most_missed)):
        cells = [[each.name, str(each.right), str(each.wrong), str(each.missed)] for each in names]
        parts.append(markdown_table([worst, "right", "wrong", "missed"], cells))
    return "\n\n".join(parts)


def _cell(measures: Numbers, spread: Numbers, column: str) -> str:
    if column not in measures:
        return ""
    digits = 2 if column == "ece" else 1
    deviation = f" ± {spread[column]:.{digits}f}" if column in spread else ""
    return f"{measures[column]:.{digits}f}{deviation}"
