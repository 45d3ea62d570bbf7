"""What is computed about a request before it is admitted, because admission depends on it."""

from collections.abc import Sequence
from typing import TypeAlias

from anyio import to_thread

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import ImageError
from sigrl.service.images.decoding_cost import DecodingCost, decoding_cost
from sigrl.service.images.files import ImageLimits
from sigrl.service.images.jpeg_markers import JPEG_START
from sigrl.service.schemas.tagging import VocabularyUsed
from sigrl.service.tagging.scoring import QUICK_LABELS
from sigrl.service.tagging.tagger import Tagger

_Look: TypeAlias = tuple[list[DecodingCost | ImageError], tuple[VocabularyUsed, ...]]
_QUICK_BYTES = 256 * 1024


async def look_at_request(
    tagger: Tagger, photographs: Sequence[bytes | ImageError], vocabularies: Sequence[Vocabulary]
) -> _Look:
    """The cost of each photograph, or the error that refuses it, and the information about the vocabularies
    for the answer. Computed in a thread if it may take a while."""
    if _is_quick(photographs, vocabularies):
        return _look(tagger, photographs, vocabularies)
    return await to_thread.run_sync(_look, tagger, photographs, vocabularies)


def _is_quick(photographs: Sequence[bytes | ImageError], vocabularies: Sequence[Vocabulary]) -> bool:
    files = [each for each in photographs if isinstance(each, bytes)]
    return (
        # The headers of other formats can have many more parts than a JPEG's.
        all(data.startswith(JPEG_START) for data in files)
        and sum(map(len, files)) <= _QUICK_BYTES
        and sum(len(each.labels) for each in vocabularies) <= QUICK_LABELS
    )


def _look(
    tagger: Tagger, photographs: Sequence[bytes | ImageError], vocabularies: Sequence[Vocabulary]
) -> _Look:
    costs = [_cost(data, tagger.tower.limits) for data in photographs]
    for vocabulary in vocabularies:
        # The vocabulary caches this hash, which takes long for 20,000 labels.
        tagger.labels.key(vocabulary)
    return costs, tuple(VocabularyUsed.by(tagger.engine, vocabulary) for vocabulary in vocabularies)


def _cost(data: bytes | ImageError, limits: ImageLimits) -> DecodingCost | ImageError:
    if isinstance(data, ImageError):
        return data
    try:
        return decoding_cost(data, limits)
    except ImageError as error:
        # A new error, because the traceback of the caught one keeps the data in memory.
        return type(error)(error.detail, error.hint)
