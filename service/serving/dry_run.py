"""Dry runs: how changing a vocabulary would change the tags of recent photographs. Independent of HTTP."""

import numpy as np
import numpy.typing as npt

from sigrl.model.engine import LabelFeatures
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import NoRecentPhotographsError
from sigrl.service.schemas.dry_run import DryRun, LabelChange
from sigrl.service.schemas.tagging import VocabularyInfo
from sigrl.service.serving.async_tagger import AsyncTagger
from sigrl.service.tagging.scoring import Question, Scores
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger

_DIGITS = 6


async def dry_run(tagger: AsyncTagger, before: Vocabulary, after: Vocabulary) -> DryRun:
    """Compares `after` with `before`. Raises NoRecentPhotographsError and what `look_at_labels` raises."""
    if not tagger.recent.most:
        raise NoRecentPhotographsError(
            "no recent photographs are kept", "set SIGRL_RECENT_PHOTOGRAPHS to a few hundred"
        )

    def compare(active: Tagger, features: LabelFeatures) -> DryRun:
        if not active.engine.scores_kept:
            raise NoRecentPhotographsError(
                "the active checkpoint, with a `tagclip` head, looks at parts of each photograph again, and "
                "recent photographs are kept without their pixels",
                "make dry runs with another checkpoint",
            )
        photographs = tagger.recent.seen_by(active.engine.checkpoint_id)
        if photographs is None:
            raise NoRecentPhotographsError(
                "none of the recent photographs was tagged by the active checkpoint",
                "tag some photographs first",
            )
        return _compare(
            active.engine.checkpoint_id,
            _Decisions(active, before, active.labels.features(before), photographs),
            _Decisions(active, after, features, photographs),
        )

    return await tagger.look_at_labels(after, compare)


class _Decisions:
    """Which labels of a vocabulary N photographs get."""

    def __init__(
        self, tagger: Tagger, vocabulary: Vocabulary, features: LabelFeatures, photographs: KeptFeatures
    ) -> None:
        engine, self.vocabulary = tagger.engine, vocabulary
        question = Question(engine, vocabulary, features, Selection())
        logits = engine.score_kept(photographs, features)
        found = engine.probabilities(logits, features)
        self.present = np.stack(
            [question.verdicts(Scores(*row))[1] for row in zip(logits, found, strict=True)]
        )
        self.thresholds = question.thresholds
        self.columns = {name: column for column, name in enumerate(vocabulary.names)}

    def of(self, name: str) -> tuple[npt.NDArray[np.bool_], float | None]:
        """(whether each photograph gets the label [N], its threshold); (all False, None) for an unknown
        label."""
        column = self.columns.get(name)
        if column is None:
            return np.zeros(len(self.present), np.bool_), None
        return self.present[:, column], round(float(self.thresholds[column]), _DIGITS)


def _compare(checkpoint: str, before: _Decisions, after: _Decisions) -> DryRun:
    either = one = 0
    labels = []
    for name in dict.fromkeys((*before.columns, *after.columns)):
        (was, old), (is_now, new) = before.of(name), after.of(name)
        changed = int((was ^ is_now).sum())
        either, one = either + int((was | is_now).sum()), one + changed
        if changed or old != new:
            labels.append(
                LabelChange(
                    label=name,
                    change="new" if old is None else "gone" if new is None else "kept",
                    tagged_before=int(was.sum()),
                    tagged_after=int(is_now.sum()),
                    changed=changed,
                    threshold_before=old,
                    threshold_after=new,
                )
            )
    return DryRun(
        checkpoint=checkpoint,
        before=VocabularyInfo.of(before.vocabulary),
        after=VocabularyInfo.of(after.vocabulary),
        photographs=len(before.present),
        changed_tags=round(one / either, _DIGITS) if either else 0.0,
        labels=tuple(sorted(labels, key=lambda label: -label.changed)),
    )
