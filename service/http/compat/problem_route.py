"""Errors for clients that read them from fields other than those of RFC 9457."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from sigrl.service.errors import TaggerError
from sigrl.service.http.problems import refusal


class ProblemRoute(APIRoute):
    """A route whose problem documents also have `error`, the sentence that the clients of Hugging Face and
    PhotoPrism show, and `code`, the status that PhotoPrism reads."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `fastapi.routing.APIRoute`."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except TaggerError as error:
                return refusal(error, self.members(error))

        return handle

    def members(self, error: TaggerError) -> Mapping[str, object]:
        """The members that are added to the problem."""
        return {"error": str(error), "code": error.status}


class OpenAiProblemRoute(ProblemRoute):
    """The same for OpenAI's clients, which look for a message in an object."""

    def members(self, error: TaggerError) -> Mapping[str, object]:
        """The members that are added to the problem."""
        return {"error": {"message": str(error), "type": error.code, "param": None, "code": error.code}}
