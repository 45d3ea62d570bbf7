from sigrl.model.vocabulary import Vocabulary
from sigrl.service.checkpoints.recent import RecentVocabularies


def _of(*names: str) -> Vocabulary:
    return Vocabulary.from_names(names)


def test_what_was_used_least_recently_is_forgotten_first() -> None:
    recent = RecentVocabularies(max_vocabularies=2, max_labels=4)
    recent.note([_of("a"), _of("b"), _of("a"), _of("c")])
    assert recent.all() == [_of("a"), _of("c")]
    recent.note([_of("d", "e", "f", "g")])
    assert recent.all() == [_of("d", "e", "f", "g")]
    recent.note([_of("x", "y", "z", "u", "v")])
    assert recent.all() == []
