"""The client for programs that run an event loop."""

from asyncio import sleep
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Self, Unpack

import httpx
from anyio import to_thread

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.client import requests
from sigrl.service.client.connection import (
    AT_ONCE,
    LOCAL,
    RETRIES,
    TIMEOUT_SECONDS,
    content,
    pause,
    settings,
)
from sigrl.service.client.failures import failure
from sigrl.service.client.photographs import Batch, Result, Source, batches, read
from sigrl.service.client.requests import Request, StoredSummary, StoredVocabulary, T, Wanted
from sigrl.service.client.retrying import Attempts
from sigrl.service.errors import RequestTooLargeError, TaggerError
from sigrl.service.schemas.calibration import CalibrationGoal, CalibrationReport
from sigrl.service.schemas.checkpoints import CheckpointInfo, CheckpointList
from sigrl.service.schemas.embeddings import EmbeddingsAnswer
from sigrl.service.schemas.feedback import FeedbackAnswer
from sigrl.service.schemas.suggesting import SUGGESTED, Candidate, CandidatesAnswer, Suggestion
from sigrl.service.schemas.tagging import Explanation
from sigrl.service.schemas.tags import TagAnswer
from sigrl.service.schemas.vocabularies import VocabularyDocument, VocabularySummary
from sigrl.service.tagging.selection import Thresholds


class AsyncClient:
    """A connection to a server, as an asynchronous context manager. See `Client`."""

    def __init__(
        self,
        server: str = LOCAL,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
    ) -> None:
        """See `Client`."""
        self._server, self._retries = server, retries
        self._http = httpx.AsyncClient(**settings(server, api_key, timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def tag(
        self,
        photographs: Source | Sequence[Source],
        labels: Sequence[str] | None = None,
        *,
        vocabulary: str | None = None,
        top_k: int | None = None,
        language: str | None = None,
        **thresholds: Unpack[Thresholds],
    ) -> TagAnswer:
        """See `Client.tag`."""
        wanted = Wanted(labels, () if vocabulary is None else (vocabulary,), top_k, thresholds, language)
        several = [photographs] if isinstance(photographs, Source) else photographs
        uploads = [await to_thread.run_sync(read, each) for each in several]
        return await self._send(requests.tag(uploads, wanted))

    async def tag_many(
        self,
        photographs: Iterable[Source],
        labels: Sequence[str] | None = None,
        *,
        vocabularies: Sequence[str] = (),
        top_k: int | None = None,
        language: str | None = None,
        at_once: int = AT_ONCE,
        **thresholds: Unpack[Thresholds],
    ) -> AsyncIterator[Result]:
        """See `Client.tag_many`."""
        wanted = Wanted(labels, vocabularies, top_k, thresholds, language)
        following = batches(photographs, at_once)
        while (batch := await to_thread.run_sync(next, following, None)) is not None:
            async for result in self._tag_batch(batch, wanted):
                yield result

    async def _tag_batch(self, batch: Batch, wanted: Wanted) -> AsyncIterator[Result]:
        for result in batch.refused:
            yield result
        attempts = Attempts(self._retries, repeatable=True)
        while batch.waiting:
            request = requests.tag_lines(batch.uploads(), wanted)
            try:
                async with self._http.stream(request.method, request.path, **request.arguments) as response:
                    if not response.is_success:
                        await response.aread()
                        raise failure(response)
                    async for text in response.aiter_lines():
                        yield batch.take(requests.line(text))
                        attempts.progress()
                batch.check_complete()
            except RequestTooLargeError as error:
                for result in batch.too_large(error):
                    yield result
            except (httpx.HTTPError, TaggerError) as error:
                await sleep(pause(attempts, error, self._server))

    async def explain(
        self,
        photograph: Source,
        labels: Sequence[str] | None = None,
        *,
        vocabulary: str | None = None,
        top_k: int | None = None,
        language: str | None = None,
    ) -> Explanation:
        """See `Client.explain`."""
        wanted = Wanted(labels, () if vocabulary is None else (vocabulary,), top_k, language=language)
        return await self._send(requests.explain(await to_thread.run_sync(read, photograph), wanted))

    async def embed_photographs(self, photographs: Sequence[Source]) -> EmbeddingsAnswer:
        """Embeds photographs."""
        uploads = [await to_thread.run_sync(read, each) for each in photographs]
        return await self._send(requests.embed_photographs(uploads))

    async def embed_labels(self, labels: Sequence[str]) -> EmbeddingsAnswer:
        """Embeds up to 1,000 labels."""
        return await self._send(requests.embed_labels(labels))

    async def list_vocabularies(self) -> AsyncIterator[VocabularySummary]:
        """Lists the newest version of every vocabulary: first the built-in ones, then the others by name."""
        after: str | None = ""
        while after is not None:
            page = await self._send(requests.list_vocabularies(after))
            for each in page.vocabularies:
                yield each
            after = page.vocabularies[-1].name if page.next else None

    async def get_vocabulary(self, name: str, version: int | None = None) -> StoredVocabulary:
        """Returns a vocabulary with its labels; the newest version by default."""
        return await self._send(requests.get_vocabulary(name, version))

    async def put_vocabulary(
        self,
        name: str,
        labels: Sequence[str] | Vocabulary | VocabularyDocument,
        *,
        if_match: str | None = None,
        new: bool = False,
    ) -> StoredSummary:
        """See `Client.put_vocabulary`."""
        return await self._send(requests.put_vocabulary(name, labels, if_match, new))

    async def delete_vocabulary(self, name: str, *, if_match: str | None = None) -> None:
        """Deletes a vocabulary and all its versions."""
        await self._send(requests.delete_vocabulary(name, if_match))

    async def calibrate(
        self,
        name: str,
        examples: Iterable[tuple[Source, Mapping[str, bool]]] = (),
        goal: CalibrationGoal | None = None,
        *,
        replace: bool = False,
    ) -> CalibrationReport:
        """See `Client.calibrate`."""
        uploads = [(await to_thread.run_sync(read, source), shown) for source, shown in examples]
        return await self._send(requests.calibrate(name, uploads, goal or CalibrationGoal(), replace))

    async def weigh(self, name: str, photographs: Sequence[Source]) -> CandidatesAnswer:
        """Weighs photographs that could be labelled for a vocabulary, for `suggest`."""
        return await self._send(requests.weigh(name, [read(each) for each in photographs]))

    async def suggest(self, name: str, candidates: Sequence[Candidate], count: int = SUGGESTED) -> Suggestion:
        """Chooses the candidates whose labels teach a vocabulary most, in the order to label them."""
        return await self._send(requests.suggest(name, candidates, count))

    async def preview(self, photograph: Source) -> bytes:
        """Returns a photograph as the server decodes it: an upright JPEG, at most 1024 pixels a side."""
        return await self._send(requests.preview(read(photograph)))

    async def give_feedback(
        self, photograph: Source, *, right: Sequence[str] = (), wrong: Sequence[str] = ()
    ) -> FeedbackAnswer:
        """Reports which tags of a photograph are right and which are wrong."""
        upload = await to_thread.run_sync(read, photograph)
        return await self._send(requests.give_feedback(upload, right, wrong))

    async def list_checkpoints(self) -> CheckpointList:
        """Lists the active checkpoint and those that could replace it."""
        return await self._send(requests.list_checkpoints())

    async def get_checkpoint(self, checkpoint: str) -> CheckpointInfo:
        """Returns the current state of the checkpoint with this id."""
        return await self._send(requests.get_checkpoint(checkpoint))

    async def load_checkpoint(self, bundle: str) -> CheckpointInfo:
        """Starts to load a bundle; `get_checkpoint` reports the progress."""
        return await self._send(requests.load_checkpoint(bundle))

    async def activate_checkpoint(self, checkpoint: str, *, force: bool = False) -> CheckpointInfo:
        """See `Client.activate_checkpoint`."""
        return await self._send(requests.activate_checkpoint(checkpoint, force))

    async def roll_back(self) -> CheckpointInfo:
        """Reactivates the previously active checkpoint."""
        return await self._send(requests.roll_back())

    async def _send(self, request: Request[T]) -> T:
        attempts = Attempts(self._retries, repeatable=request.repeatable)
        while True:
            try:
                response = await self._http.request(request.method, request.path, **request.arguments)
                return content(request, response)
            except (httpx.HTTPError, TaggerError) as error:
                await sleep(pause(attempts, error, self._server))
