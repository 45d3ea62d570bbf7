"""POST /v1/tag."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Receive, Scope, Send

from sigrl.service.http.idempotency import Attempt
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.http.tag_openapi import OPENAPI, RESPONSES
from sigrl.service.http.tag_request import NDJSON, TagRequest, read_tag_request
from sigrl.service.http.tag_response import fault, json_body, json_line, ours, server_timing
from sigrl.service.schemas.tags import TagAnswer, TagAnswerBySeveral
from sigrl.service.serving.outcomes import TaggingStream

router = APIRouter(tags=["tagging"], dependencies=[NEEDS_TAG])

_REPLAYED = "Idempotent-Replayed"


@router.post(
    "/v1/tag", response_model=TagAnswer | TagAnswerBySeveral, responses=RESPONSES, openapi_extra=OPENAPI
)
async def tag(request: Request, state: Annotated[ServiceState, Depends(service_state)]) -> Response:
    """Tags one photograph or several.

    Photographs come as a form's files in the field `image`, or one of them as the raw body. Without `labels`
    and `vocabulary` the service's own vocabulary is looked for. Parameters may stand in form or query.

    Which tags are given: with nothing said, those that reach their threshold. Where neither labels nor a
    vocabulary are named that is 0.7, at most ten are given, and what a narrower one among them implies
    stands in `implied`. Where no label reaches its threshold `guesses` has the three most probable ones. With
    `threshold`, all that reach it; with `false_positive_rate`, `precision` or `recall`, all that reach the
    threshold at which everyday photographs are expected to keep it; with `top_k`, that many, where `accepted`
    says which reach their threshold; with `top_k` and one of these, those that reach it, at most `top_k`.

    `warnings` names labels that the checkpoint cannot judge, such as "no dog"; their probability is held low.

    Several vocabularies cost one pass of the model. Then the answer has `vocabularies` in place of
    `vocabulary`, and of each photograph `results` in place of `tags`, one for each.

    With `checkpoint` one answers that is in memory and not active, so that two can be compared.

    A photograph that cannot be tagged is answered with its error; among several it has its own status and
    error in the list, and the others their tags.

    With `Accept: application/x-ndjson` every photograph is answered as soon as it is tagged, in a line of its
    own that says its place in the request as `index`, in whatever order they finish.
    """
    tagger = state.ready_tagger
    tagger.check_room()
    asked = await read_tag_request(request, state.settings, state.vocabularies, state.fetcher)
    photographs = [upload.data for upload in asked.uploads]
    key = asked.idempotency_key
    answering = _Answering(
        asked,
        tagger.tag_many(
            photographs,
            asked.vocabularies or [tagger.vocabulary],
            asked.selection,
            checkpoint=asked.checkpoint,
        ),
        state.answers.once(key, await to_thread.run_sync(asked.fingerprint) if key is not None else ""),
        request.state.request_id,
    )
    return _Lines(answering.lines) if asked.ndjson else await answering.whole()


@dataclass(frozen=True)
class _Answering:
    asked: TagRequest
    tagging: AbstractAsyncContextManager[TaggingStream]
    once: AbstractAsyncContextManager[Attempt]
    request_id: str

    async def whole(self) -> Response:
        """One JSON object."""
        async with self.once as attempt:
            if attempt.answer is not None:
                return Response(attempt.answer, headers={_REPLAYED: "true"}, media_type="application/json")
            async with self.tagging as tags:
                finished = await tags.in_order()
            if (error := fault(finished)) is not None:
                raise error
            body = await to_thread.run_sync(json_body, self.asked, tags, finished, self.request_id)
            if not any(ours(each.outcome) for each in finished):
                attempt.answer = body
            return Response(
                body, headers={"Server-Timing": server_timing(finished)}, media_type="application/json"
            )

    async def lines(self) -> AsyncGenerator[bytes]:
        """One JSON object per photograph."""
        async with self.once as attempt:
            if attempt.answer is not None:
                yield attempt.answer
                return
            kept: list[bytes] | None = [] if self.asked.idempotency_key is not None else None
            async with self.tagging as tags:
                async for finished in tags.as_finished():
                    line = await to_thread.run_sync(json_line, self.asked, tags, finished, self.request_id)
                    if ours(finished.outcome):
                        kept = None
                    elif kept is not None:
                        kept.append(line)
                    yield line
            if kept is not None:
                attempt.answer = b"".join(kept)


class _Lines(Response):
    """Begins when the first line is there, so that what fails before it is answered with its own status. All
    the work is done within the call: nothing has to be given back if the call never comes."""

    media_type = NDJSON

    def __init__(self, lines: Callable[[], AsyncGenerator[bytes]]) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers()
        self._make_lines = lines

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        lines = self._make_lines()
        async with aclosing(lines):
            line = await anext(lines)
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await send({"type": "http.response.body", "body": line, "more_body": True})
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
