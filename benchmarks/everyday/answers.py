"""Tags each photograph once, as users do, and maps the tags to the names that have dense labels."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from benchmarks.everyday.measures import Booleans, Decisions, Floats
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import ModelError
from sigrl.service.images.decoding import open_image
from sigrl.service.images.files import read
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.tagging.scoring import BatchItem, Question, pixel_values
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger

_BATCH = 8
Item = TypeVar("Item")


@dataclass(frozen=True)
class Verdict:
    """The tags of one photograph for one question."""

    tagging: Tagging
    probabilities: Floats
    """Reported probabilities of all labels of the question's vocabulary, [L]."""

    @property
    def implied(self) -> tuple[str, ...]:
        """Broader labels that the shown ones imply and that are not shown themselves."""
        return tuple(getattr(label, "label", label) for label in getattr(self.tagging, "implied", ()))


def question(tagger: Tagger, vocabulary: Vocabulary, *, brief: bool = False) -> Question:
    """The question that `Tagger.tag_many` asks with a vocabulary at its defaults; with `brief`, the one that
    it asks without labels."""
    return tagger.question(vocabulary, Selection(brief=brief))


def asked(
    tagger: Tagger, paths: Sequence[Path], questions: Sequence[Question], description: str
) -> list[list[Verdict]]:
    """Verdicts for each question, one per photograph, from a single image pass; shows a progress bar on
    stderr. Raises ImageError for a file that cannot be tagged, and ModelError."""
    found: list[list[Verdict]] = [[] for _ in questions]
    with ThreadPoolExecutor(2) as threads:

        def decoded(path: Path) -> npt.NDArray[np.float32]:
            with open_image(read(path, tagger.tower.limits), tagger.tower.limits) as image:
                return pixel_values(image, tagger.engine.preprocessing, may_shrink=True)

        for batch in progress(list(_batches(paths)), description):
            works = [BatchItem(values, tuple(questions)) for values in threads.map(decoded, batch)]
            for scored in tagger.tower.score(works):
                if isinstance(scored, ModelError):
                    raise scored
                for verdicts, each, scores in zip(found, questions, scored.scores, strict=True):
                    verdicts.append(Verdict(each.answer(scores), each.verdicts(scores)[0]))
    return found


def judged_names(vocabulary: Vocabulary, names: Sequence[str]) -> dict[str, int]:
    """By label, the column of the name that it counts as: its own or the nearest broader one, so that `husky`
    counts as `dog`. Labels without such a name are left out."""
    columns = {name.casefold(): column for column, name in enumerate(names)}
    labels = {label.name.casefold(): label for label in vocabulary.labels}
    found: dict[str, int] = {}
    for label in vocabulary.labels:
        above = label
        while above.name.casefold() not in columns and above.parent is not None:
            above = labels[above.parent.casefold()]
        if above.name.casefold() in columns:
            found[label.name] = columns[above.name.casefold()]
    return found


def shown_names(
    verdicts: Sequence[Verdict],
    vocabulary: Vocabulary,
    names: Sequence[str],
    labels_of: Callable[[Verdict], Sequence[str]],
) -> Decisions:
    """The labels that `labels_of` takes from each verdict, mapped to names; each name counts once per
    photograph (see `judged_names`)."""
    columns = judged_names(vocabulary, names)
    shown: Booleans = np.zeros((len(verdicts), len(names)), bool)
    counts = np.zeros(len(verdicts), np.int64)
    for row, verdict in enumerate(verdicts):
        labels = labels_of(verdict)
        counts[row] = len(labels)
        shown[row, [columns[label] for label in labels if label in columns]] = True
    return Decisions(shown, counts)


def name_probabilities(verdicts: Sequence[Verdict], vocabulary: Vocabulary, names: Sequence[str]) -> Floats:
    """[N, C]; 0 for names that are not in the vocabulary."""
    own = {name.casefold(): row for row, name in enumerate(vocabulary.names)}
    every = np.stack([verdict.probabilities for verdict in verdicts])
    found = np.zeros((len(verdicts), len(names)))
    for column, name in enumerate(names):
        if name.casefold() in own:
            found[:, column] = every[:, own[name.casefold()]]
    return found


def shown_labels(verdict: Verdict) -> tuple[str, ...]:
    """The labels shown."""
    return verdict.tagging.labels


def with_implied(verdict: Verdict) -> tuple[str, ...]:
    """The labels shown, followed by those that they imply."""
    return (*shown_labels(verdict), *verdict.implied)


def progress(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Iterates with a progress bar on stderr, so that stdout contains only results."""
    yield from track(items, description, console=Console(stderr=True))


def _batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH))
