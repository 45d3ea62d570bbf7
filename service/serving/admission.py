"""What is computed about a request before it is admitted, because admission depends on it."""

from collections.abc import Sequence

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import ImageError
from sigrl.service.images.decoding_cost import DecodingCost, decoding_cost
from sigrl.service.images.files import ImageLimits
from sigrl.service.schemas.tagging import VocabularyUsed
from sigrl.service.tagging.tagger import Tagger


def look_at_request(
    tagger: Tagger, photographs: Sequence[bytes | ImageError], vocabularies: Sequence[Vocabulary]
) -> tuple[list[DecodingCost | ImageError], tuple[VocabularyUsed, ...]]:
    """Computes what takes too long for the event loop: the cost of each photograph, or the error that refuses
    it, and the information about the vocabularies for the answer."""
    costs = [_cost(data, tagger.tower.limits) for data in photographs]
    for vocabulary in vocabularies:
        # The vocabulary caches this hash. It is computed here because for 20,000 labels it would block the
        # event loop.
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
