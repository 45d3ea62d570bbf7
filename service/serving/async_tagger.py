"""Tagging for many clients at once, in an event loop. Independent of HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import TypeVar

import numpy as np
from anyio import to_thread

from sigrl.model.engine import LabelFeatures
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.batcher import Batcher, BatchLimits, Place
from sigrl.service.batching.threads import RequestThreads
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.errors import ImageError, NotReadyError
from sigrl.service.images.decoding import COPY_SIDE
from sigrl.service.images.decoding_cost import DecodingCost
from sigrl.service.observability import metrics
from sigrl.service.observability.context import SERVED
from sigrl.service.serving.admission import look_at_request
from sigrl.service.serving.label_encoding import LabelEncoding
from sigrl.service.serving.outcomes import ImageResult, Seconds, TaggingStream, answers, finished
from sigrl.service.serving.recent_photographs import Keep, RecentPhotographs
from sigrl.service.settings import Settings
from sigrl.service.tagging.image_tower import ImageTower
from sigrl.service.tagging.scoring import Array, BatchItem, Question, ScoredImage, score_batch
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger

Result = TypeVar("Result")

# A compiled model may need minutes for its first photograph.
_START_SECONDS = 3600.0
_PROBE_SECONDS = 10.0
_RECENT_SECONDS = 60.0
_LINGER_SECONDS = 10.0
"""Threads that decode do not compute with PyTorch, so they may wait for the next photograph."""


class AsyncTagger:
    """The active tagger, behind a `Batcher`: photographs of all requests go through the model together. Each
    request uses the same tagger from beginning to end.

    Headers are read first. Files that are not photographs are refused before they cost anything, and the
    others are admitted according to their number of pixels. A request decodes at most `Settings.threads`
    photographs at a time, so that a single photograph of another request does not wait for all of them. A
    `DecoderPool` limits the memory for decoding in all requests together. Only the pixel values that the
    model needs are kept of a photograph. Call `start`, then `tag_many` in the same event loop, then `close`.
    """

    def __init__(self, tagger: Tagger | Runtime, settings: Settings) -> None:
        """`tagger`: a runtime, or a tagger, for which a new runtime is made. Its pool decodes the
        photographs, within its limits."""
        self.runtime = tagger if isinstance(tagger, Runtime) else Runtime(tagger, settings)
        """Closed by `close`."""
        self._settings = settings
        with self.runtime.acquire() as handle:
            self.vocabulary = handle.tagger.vocabulary
            """Used for requests that name no labels and no vocabulary; the same for all checkpoints."""
        self._batcher: Batcher[BatchItem, ScoredImage] = Batcher(
            score_batch,
            BatchLimits(
                waiting_items=settings.queue_images,
                waiting_pixels=settings.queue_pixels,
                batch_items=settings.batch_images,
                batch_pixels=settings.batch_pixels,
            ),
        )
        self.recent = RecentPhotographs(settings.recent_photographs)
        """Recent photographs, on which vocabularies can be tried out."""
        self._decoders = RequestThreads(settings.threads, "sigrl-decode", _LINGER_SECONDS)
        self._labels = LabelEncoding(settings)

    @property
    def checkpoint(self) -> str:
        """Id of the checkpoint that answers the next request."""
        return self.runtime.table.active.id

    async def start(self) -> None:
        """Tags one picture to warm up the model. Raises what the model raises."""
        self._batcher.start()
        try:
            await self._probe(_START_SECONDS)
        except BaseException:
            await self.close(0)
            raise

    async def close(self, seconds: float) -> None:
        """Finishes admitted photographs within `seconds` and refuses new ones."""
        await self._batcher.close(seconds)
        self._decoders.close()
        self._labels.close()
        self.runtime.close()

    def check_room(self) -> None:
        """Raises OverloadedError if a request would be refused. Called before the request is read."""
        self._batcher.permits.check()

    async def check_ready(self) -> None:
        """Raises NotReadyError unless the model has tagged something recently. An idle model is tested."""
        if self._batcher.seconds_since_success < _RECENT_SECONDS:
            return
        try:
            await self._probe(_PROBE_SECONDS)
        except Exception as error:
            raise NotReadyError(
                f"the model does not answer: {error}",
                "see the service's log, and restart it if this persists",
            ) from error

    @asynccontextmanager
    async def tag_many(
        self,
        photographs: Sequence[bytes | ImageError],
        vocabularies: Sequence[Vocabulary],
        selection: Selection,
        kind: type[Question] = Question,
        checkpoint: str | None = None,
    ) -> AsyncIterator[TaggingStream]:
        """Tags photographs with one image pass for all vocabularies. At the end of the block, unfinished work
        is cancelled.

        Args:
            photographs: contents of files. An ImageError in place of a content becomes that photograph's
                result.
            vocabularies: the vocabularies to tag with.
            selection: selects the labels of each vocabulary that become tags.
            kind: the kind of question about each vocabulary.
            checkpoint: id of the checkpoint to use, which must be in memory; None for the active one.

        Raises:
            CheckpointStateError: the checkpoint is not in memory.
            DeadlineError: the labels could not be encoded in time.
            NotReadyError: the service is shutting down.
            OverloadedError, RequestTooLargeError: see `Permits.take`.
        """
        with self.runtime.acquire(checkpoint) as handle:
            async with self._tag_as(handle.tagger, photographs, vocabularies, selection, kind) as tags:
                yield tags

    async def look_at_labels(
        self, vocabulary: Vocabulary, look: Callable[[Tagger, LabelFeatures], Result]
    ) -> Result:
        """Calls `look` in a thread, with the tagger and the label features of the vocabulary. Raises as
        `tag_many` does, and what `look` raises."""
        with (
            self.runtime.acquire() as handle,
            # Admitted as a photograph of one pixel: it needs a place and a deadline, but not the image tower.
            self._batcher.admit([1], self._settings.request_seconds, _arrival()) as (place,),
        ):
            features = await place.in_time(self._labels.features(handle.tagger, vocabulary))
            return await place.in_time(self._labels.run(look, handle.tagger, features))

    @asynccontextmanager
    async def _tag_as(
        self,
        tagger: Tagger,
        photographs: Sequence[bytes | ImageError],
        vocabularies: Sequence[Vocabulary],
        selection: Selection,
        kind: type[Question],
    ) -> AsyncIterator[TaggingStream]:
        if (served := SERVED.get()) is not None:
            served.note(len(photographs), tagger.engine.checkpoint_id)
        costs, infos = await look_at_request(tagger, photographs, vocabularies)
        self.runtime.note(vocabularies)
        readable = {number: cost for number, cost in enumerate(costs) if not isinstance(cost, ImageError)}
        refused = [finished(n, error) for n, error in enumerate(costs) if isinstance(error, ImageError)]
        pixels = [cost.pixels for cost in readable.values()]
        arrival, seconds = _arrival(), self._settings.request_seconds
        with self._batcher.admit(pixels, seconds, arrival) as places:
            if kind is Question and self.recent.most and tagger.engine.scores_kept:
                kind = Keep
            questions: list[Question] = []
            # No labels are encoded for a request whose photographs are all refused.
            for vocabulary in vocabularies if places else ():
                features = await places[0].in_time(self._labels.features(tagger, vocabulary))
                question = kind(tagger.engine, vocabulary, features, selection)
                if question.goal is not None:
                    # Computed before the first photograph, because an error concerns the whole request.
                    work = to_thread.run_sync(getattr, question, "thresholds", abandon_on_cancel=True)
                    await places[0].in_time(work)
                questions.append(question)
            slots = asyncio.Semaphore(self._settings.threads)
            tasks = [
                asyncio.create_task(
                    self._tag(
                        number,
                        photographs[number],
                        cost,
                        tagger,
                        arrival + seconds,
                        place,
                        tuple(questions),
                        slots,
                    )
                )
                for (number, cost), place in zip(readable.items(), places, strict=True)
            ]
            try:
                yield TaggingStream(tagger.engine.checkpoint_id, infos, questions, refused, tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _tag(
        self,
        number: int,
        photograph: bytes | ImageError,
        cost: DecodingCost,
        tagger: Tagger,
        deadline: float,
        place: Place[BatchItem, ScoredImage],
        questions: tuple[Question, ...],
        slots: asyncio.Semaphore,
    ) -> ImageResult:
        admitted = time.perf_counter()
        preprocessing = tagger.engine.preprocessing
        try:
            assert isinstance(photograph, bytes)
            with place:
                decode = partial(_decode, photograph, cost, tagger.tower, deadline)
                values, decode_seconds = await place.in_time(self._decode(decode, slots))
                waited = time.perf_counter() - admitted - decode_seconds
                scored, waited_for_model = await place.run(
                    BatchItem(values, questions), preprocessing.image_size**2
                )
                taggings = await place.in_time(answers(questions, scored))
            self.recent.note(taggings)
            if not self._is_busy:
                self.runtime.offer(photograph, questions, scored)
        except Exception as error:
            return finished(number, error)
        seconds = Seconds(
            decode_seconds, waited + waited_for_model, scored.model_seconds, scored.score_seconds
        )
        if (served := SERVED.get()) is not None and served.trace is not None:
            served.trace.steps(asdict(seconds), scored.photographs)
        return finished(number, taggings, seconds)

    async def _decode(
        self, decode: Callable[[], tuple[Array, float]], slots: asyncio.Semaphore
    ) -> tuple[Array, float]:
        async with slots:
            return await self.in_decoder(decode)

    async def in_decoder(self, work: Callable[[], Result]) -> Result:
        """Runs `work` in one of the threads that decode, or that wait for a process that decodes."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    def small_copy(self, photograph: bytes, side: int = COPY_SIDE) -> bytes:
        """See `sigrl.service.images.decoding.small_copy`; waits in the caller's thread. Raises ImageError."""
        deadline = time.monotonic() + self._settings.request_seconds
        with self.runtime.acquire() as handle:
            pool, limits = handle.tagger.tower.pool, handle.tagger.tower.limits
        return pool.small_copy(photograph, limits, deadline, side)

    @property
    def _is_busy(self) -> bool:
        """Whether the load is too high for a shadow checkpoint to tag photographs as well."""
        return self._batcher.permits.taken[0] > self._settings.queue_images // 2

    async def _probe(self, seconds: float) -> None:
        with self.runtime.acquire() as handle:
            tagger = handle.tagger
            size = tagger.engine.preprocessing.image_size
            with self._batcher.admit([size * size], seconds) as (place,):
                check = partial(tagger.tower.pool.check, time.monotonic() + seconds)
                await place.in_time(self.in_decoder(check))
                features = await place.in_time(self._labels.features(tagger, tagger.vocabulary))
                question = Question(tagger.engine, tagger.vocabulary, features, Selection())
                grey = np.zeros((3, size, size), np.float32)
                await place.run(BatchItem(grey, (question,)), size * size)


def _decode(photograph: bytes, cost: DecodingCost, tower: ImageTower, deadline: float) -> tuple[Array, float]:
    """Pixel values, and the seconds that decoding took."""
    started = time.perf_counter()
    values = tower.pool.pixel_values(photograph, tower.limits, tower.engine.preprocessing, deadline, cost)
    seconds = time.perf_counter() - started
    metrics.DECODE_SECONDS.observe(seconds)
    return values, seconds


def _arrival() -> float:
    """When the current request arrived, so that the deadline covers the parsing of its labels; outside a
    request, now."""
    served = SERVED.get()
    return time.monotonic() if served is None or served.arrived is None else served.arrived
