"""What a change of a vocabulary would change, on photographs tagged lately; with no HTTP in it."""

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
    """Tries `after` in place of `before`. Raises NoRecentPhotographsError, and as `look_at_labels` does."""
    if not tagger.recent.most:
        raise NoRecentPhotographsError(
            "no photographs are remembered", "set SIGRL_RECENT_PHOTOGRAPHS to some hundreds"
        )

    def compare(active: Tagger, features: LabelFeatures) -> DryRun:
        photographs = tagger.recent.seen_by(active.engine.checkpoint_id)
        if photographs is None:
            raise NoRecentPhotographsError(
                "the active checkpoint has tagged no photograph yet that is remembered",
                "tag some photographs first",
            )
        return _compare(
            active.engine.checkpoint_id,
            _Decided(active, before, active.label_features(before), photographs),
            _Decided(active, after, features, photographs),
        )

    return await tagger.look_at_labels(after, compare)


class _Decided:
    """Which labels of a vocabulary are present on N photographs."""

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
        """[N] of one label, and its threshold; of one that is not there, never."""
        column = self.columns.get(name)
        if column is None:
            return np.zeros(len(self.present), np.bool_), None
        return self.present[:, column], round(float(self.thresholds[column]), _DIGITS)


def _compare(checkpoint: str, before: _Decided, after: _Decided) -> DryRun:
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
