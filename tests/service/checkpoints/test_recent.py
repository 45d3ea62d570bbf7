import pytest

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.checkpoints import recent as recent_vocabularies
from sigrl.service.checkpoints.recent import RecentVocabularies


def _of(*names: str) -> Vocabulary:
    return Vocabulary.from_names(names)


def test_least_recently_used_vocabularies_are_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_vocabularies, "_MAX_VOCABULARIES", 2)
    monkeypatch.setattr(recent_vocabularies, "_MAX_LABELS", 4)
    recent = RecentVocabularies()
    recent.note([_of("a"), _of("b"), _of("a"), _of("c")])
    assert recent.all() == [_of("a"), _of("c")]
    recent.note([_of("d", "e", "f", "g")])
    assert recent.all() == [_of("d", "e", "f", "g")]
    recent.note([_of("x", "y", "z", "u", "v")])
    assert recent.all() == []
