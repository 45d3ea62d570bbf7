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
from sigrl.service.http.tag_request import NDJSON, TagRequest, in_accepted_language, read_tag_request
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

    Send photographs as files in the form field `image`, in a JSON body, or a single one as the raw body.
    Without `labels` and `vocabulary`, the service's own vocabulary is used. Parameters may be in the body or
    in the query.

    The parameters decide which tags are returned:

    - By default, every label that reaches its threshold. If the request names neither labels nor a
      vocabulary, the threshold is 0.7, at most ten tags are returned, and labels that a narrower tag implies
      are listed in `implied`.
    - With `threshold`, every label that reaches it.
    - With `false_positive_rate`, `precision` or `recall`, every label that reaches the threshold expected to
      meet that value on everyday photographs.
    - With `top_k`, that many labels; `accepted` says which of them reach their threshold.
    - With `top_k` and one of the others, at most `top_k` of the labels that reach the threshold.

    If no label reaches its threshold and `top_k` is not given, `guesses` has the three most probable labels;
    without labels and options, only those that are at least 10 % probable.

    With `language`, or by Accept-Language, `label` is in that language and `english` has the vocabulary's own
    name. Labels in other languages than English are looked for by what the built-in vocabularies call them in
    English, which `english` then says.

    `warnings` lists labels that the checkpoint cannot judge, such as "no dog"; their probability is capped.

    Several vocabularies need only one pass of the model. The answer then has `vocabularies` in place of
    `vocabulary`, and each photograph has `results`, one per vocabulary, in place of `tags`.

    With `checkpoint`, a loaded checkpoint answers in place of the active one, so that two can be compared.

    If a single photograph cannot be tagged, the answer is its error. Among several photographs, only the
    failed ones have a status and an error in the list, and the others have their tags.

    With `Accept: application/x-ndjson`, each photograph is answered in its own line as soon as it is tagged,
    in the order of completion. `index` gives its position in the request.
    """
    tagger = state.ready_tagger
    tagger.check_room()
    asked = await read_tag_request(request, state.settings, state.vocabularies, state.fetcher)
    asked = in_accepted_language(asked, request)
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
        """Answers with one JSON object."""
        async with self.once as attempt:
            if attempt.answer is not None:
                return Response(attempt.answer, headers={_REPLAYED: "true"}, media_type="application/json")
            async with self.tagging as tags:
                finished = await tags.in_order()
            if (error := fault(finished)) is not None:
                raise error
            body = await json_body(self.asked, tags, finished, self.request_id)
            if not any(ours(each.outcome) for each in finished):
                attempt.answer = body
            return Response(
                body, headers={"Server-Timing": server_timing(finished)}, media_type="application/json"
            )

    async def lines(self) -> AsyncGenerator[bytes]:
        """Yields one line of JSON per photograph."""
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
    """A response that starts once the first line is ready, so that an earlier error is answered with its own
    status. All work is done in `__call__`, so nothing has to be released if it is never called."""

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
