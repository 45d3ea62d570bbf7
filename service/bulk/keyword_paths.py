"""The paths from the top of a vocabulary's hierarchy to its labels, as photo programs file keywords."""

from collections.abc import Mapping

from sigrl.model.vocabulary import Vocabulary

KeywordPaths = Mapping[str, tuple[str, ...]]
"""Label as a tag shows it -> the labels from the top of the hierarchy down to it, at least itself."""


def keyword_paths(vocabulary: Vocabulary, language: str | None) -> KeywordPaths:
    """The paths of all labels, named in `language` as far as there are translations."""
    by_name = {label.name.casefold(): label for label in vocabulary.labels}
    paths: dict[str, tuple[str, ...]] = {}
    for label in vocabulary.labels:
        path = [label.called(language)]
        parent = label.parent
        while parent is not None:
            above = by_name[parent.casefold()]
            path.insert(0, above.called(language))
            parent = above.parent
        paths[label.called(language)] = tuple(path)
    return paths
