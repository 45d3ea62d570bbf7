"""GET /v1/vocabularies."""

from fastapi import APIRouter

from service.results import Answer, VocabularyInfo
from service.vocabularies import BUILTIN, builtin

router = APIRouter(tags=["vocabularies"])


class VocabularyContent(VocabularyInfo):
    """A vocabulary and its labels."""

    labels: tuple[str, ...]
    """Names, in order."""


class VocabularyList(Answer):
    """All vocabularies that a request may name."""

    vocabularies: tuple[VocabularyContent, ...]
    """The built-in ones."""


@router.get("/v1/vocabularies")
async def list_vocabularies() -> VocabularyList:
    """The vocabularies that POST /v1/tag knows by name."""
    known = [builtin(name) for name in BUILTIN]
    contents = (VocabularyContent(**dict(VocabularyInfo.of(each)), labels=each.names) for each in known)
    return VocabularyList(vocabularies=tuple(contents))
