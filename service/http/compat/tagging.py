"""Tags the photographs of a request in the form of another service."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Query

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.threads import in_database_thread
from sigrl.service.errors import ImageError
from sigrl.service.http.state import ServiceState
from sigrl.service.http.tag_body import JsonImage
from sigrl.service.http.tag_request import read_images
from sigrl.service.http.tag_response import fault
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.serving.outcomes import ImageResult
from sigrl.service.tagging.selection import Selection
from sigrl.service.vocabularies.builtin import NAME

VocabularyName = Annotated[
    str | None,
    Query(
        alias="vocabulary",
        json_schema_extra={"pattern": f"^{NAME.pattern}$"},
        description="Name of a vocabulary; the service's own if not given.",
    ),
]
VocabularyPath = Annotated[
    str, Path(json_schema_extra={"pattern": f"^{NAME.pattern}$"}, description="Name of a vocabulary.")
]


async def read_photographs(texts: Sequence[str], state: ServiceState) -> list[bytes | ImageError]:
    """Photographs given as base64, `data:` URLs or addresses, in their order. An ImageError says why one
    could not be fetched. Raises RequestError and UrlInputOffError."""
    images = [
        JsonImage(url=text) if text.startswith(("http://", "https://")) else JsonImage(data=text)
        for text in texts
    ]
    return await read_images(images, state.settings, state.fetcher)


async def named_vocabulary(name: str | None, state: ServiceState) -> Vocabulary:
    """The vocabulary of that name, or the service's own for None. Raises VocabularyNotFoundError."""
    if name is None:
        return state.ready_tagger.vocabulary
    return await in_database_thread(state.vocabularies.get, name)


async def tag_photographs(
    photographs: Sequence[bytes | ImageError],
    vocabulary: Vocabulary,
    selection: Selection,
    state: ServiceState,
) -> list[Tagging | Exception]:
    """The tags of each photograph, or its error. Raises the error if no photograph could be tagged, and what
    `AsyncTagger.tag_many` raises."""
    async with state.ready_tagger.tag_many(photographs, [vocabulary], selection) as stream:
        finished = await stream.in_order()
    if (error := fault(finished)) is not None:
        raise error
    return list(map(_outcome, finished))


def _outcome(finished: ImageResult) -> Tagging | Exception:
    return finished.outcome if isinstance(finished.outcome, Exception) else finished.outcome[0]
