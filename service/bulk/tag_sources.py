"""The sources of tags for the command line: a model in its own process, or a server."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from sigrl.service.bulk.keyword_paths import KeywordPaths, keyword_paths
from sigrl.service.errors import ImageError, ParameterError
from sigrl.service.schemas.tagging import Explanation, Tagging, VocabularyInfo

if TYPE_CHECKING:
    from sigrl.model.vocabulary import Vocabulary
    from sigrl.service.client import Client, Result
    from sigrl.service.tagging.selection import Selection
    from sigrl.service.tagging.tagger import Tagger

Tagged: TypeAlias = tuple[Path, tuple[Tagging, ...] | ImageError]
"""A photograph with its tags from each vocabulary, or with the error that prevented tagging."""


class TagSource(Protocol):
    """Tags photographs on this machine."""

    def made_by(self) -> tuple[str, tuple[VocabularyInfo, ...]]:
        """(checkpoint id, vocabularies to tag with), as far as they are known before the first photograph: a
        server's own vocabulary is unknown until then."""
        ...

    def tag(self, paths: Iterable[Path]) -> Iterator[Tagged]:
        """Yields results in the order of `paths`, which is read as needed. Raises TaggerError for an error
        that does not concern a single photograph."""
        ...

    def keyword_paths(self, vocabulary: str) -> KeywordPaths:
        """The paths of the labels of the vocabulary with that name, in the language of the tags. Raises
        TaggerError."""
        ...


class ExplainingSource(TagSource, Protocol):
    """A tag source that can also show where on a photograph the labels are."""

    def explain(self, path: Path, top_k: int | None) -> Explanation:
        """Explains the `top_k` most probable labels of the first vocabulary; if that is None, the tags of the
        photograph, or the most probable labels of a vocabulary that was asked for. Raises TaggerError."""
        ...


class LocalSource:
    """A model in this process."""

    def __init__(self, tagger: "Tagger", asked: "Sequence[Vocabulary]", selection: "Selection") -> None:
        self._tagger, self._asked, self._selection = tagger, asked, selection

    def made_by(self) -> tuple[str, tuple[VocabularyInfo, ...]]:
        """See `TagSource`."""
        looked_for = self._asked or (self._tagger.vocabulary,)
        return self._tagger.engine.checkpoint_id, tuple(map(VocabularyInfo.of, looked_for))

    def tag(self, paths: Iterable[Path]) -> Iterator[Tagged]:
        """See `TagSource`."""
        paths, read = tee(paths)
        return zip(paths, self._tagger.tag_by_each(read, self._asked, self._selection), strict=True)

    def keyword_paths(self, vocabulary: str) -> KeywordPaths:
        """See `TagSource`."""
        (found,) = (each for each in self._asked or (self._tagger.vocabulary,) if each.name == vocabulary)
        return keyword_paths(found, self._selection.language(found))

    def explain(self, path: Path, top_k: int | None) -> Explanation:
        """See `ExplainingSource`."""
        vocabulary = self._asked[0] if self._asked else None
        language = next(iter(self._selection.languages), None)
        return self._tagger.explain(path, vocabulary, top_k=top_k, language=language)


class RemoteSource:
    """A server, which uses `labels`, the registered vocabularies `names`, or its own vocabulary, in
    `language`."""

    def __init__(
        self,
        client: "Client",
        labels: "Vocabulary | None",
        names: Sequence[str],
        selection: "Selection",
        language: str | None = None,
    ) -> None:
        """Raises ParameterError if one of `names` cannot be the name of a vocabulary."""
        from sigrl.service.vocabularies.builtin import NAME

        for name in names:
            if not NAME.fullmatch(name):
                raise ParameterError(
                    f"the vocabulary '{name[:80]}' is not the name of a vocabulary on the server",
                    "register the file there first: `curl -T FILE URL/v1/vocabularies/NAME`",
                )
        self._client, self._labels, self._names, self._selection = client, labels, names, selection
        self._language = language

    def made_by(self) -> tuple[str, tuple[VocabularyInfo, ...]]:
        """See `TagSource`."""
        if self._labels is not None:
            looked_for = [VocabularyInfo.of(self._labels)]
        else:
            stored = map(self._client.get_vocabulary, self._names)
            looked_for = [VocabularyInfo.model_validate(each.model_dump()) for each in stored]
        return self._client.list_checkpoints().active, tuple(looked_for)

    def tag(self, paths: Iterable[Path]) -> Iterator[Tagged]:
        """See `TagSource`."""
        paths, read = tee(paths)
        selection = self._selection
        results = self._client.tag_many(
            read,
            None if self._labels is None else self._labels.names,
            vocabularies=self._names,
            top_k=selection.top_k,
            threshold=selection.threshold,
            false_positive_rate=selection.false_positive_rate,
            precision=selection.precision,
            recall=selection.recall,
            language=self._language,
        )
        for path, result in zip(paths, _in_order(results), strict=True):
            outcome = result.outcome
            if isinstance(outcome, tuple | ImageError):
                yield path, outcome
            else:
                raise outcome

    def keyword_paths(self, vocabulary: str) -> KeywordPaths:
        """See `TagSource`."""
        from sigrl.model.vocabulary import Vocabulary

        if self._labels is not None:
            return keyword_paths(self._labels, None)
        found = Vocabulary(name=vocabulary, labels=self._client.get_vocabulary(vocabulary).labels)
        return keyword_paths(found, self._selection.language(found))

    def explain(self, path: Path, top_k: int | None) -> Explanation:
        """See `ExplainingSource`."""
        labels = None if self._labels is None else self._labels.names
        vocabulary = self._names[0] if self._names else None
        return self._client.explain(path, labels, vocabulary=vocabulary, top_k=top_k, language=self._language)


def _in_order(results: "Iterable[Result]") -> Iterator["Result"]:
    early: dict[int, Result] = {}
    following = 0
    for result in results:
        early[result.index] = result
        while following in early:
            yield early.pop(following)
            following += 1
