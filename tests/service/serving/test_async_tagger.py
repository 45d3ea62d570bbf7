"""The tagger behind the batcher, without HTTP. The image tower stands still until a test lets it go."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import sample_images as samples
from fake_engine import COLOURS, FakeEngine, FakeFeatures
from PIL import Image

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import (
    DeadlineError,
    NotReadyError,
    OverloadedError,
    RequestTooLargeError,
    UnsupportedImageError,
)
from sigrl.service.images.decoder_pool import DecoderPool
from sigrl.service.serving import async_tagger
from sigrl.service.serving.async_tagger import AsyncTagger
from sigrl.service.serving.outcomes import ImageResult
from sigrl.service.settings import Settings
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger

LONG = 60.0
COLOUR_NAMES = Vocabulary.from_names(list(COLOURS), "colours")
POISON = samples.encode(Image.new("RGB", (10, 10), "magenta"), "PNG")


class GatedEngine(FakeEngine):
    """Stands still while `gate` is closed, and cannot take a magenta photograph."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def encode_images(self, pixel_values: np.ndarray) -> FakeFeatures:
        self.entered.set()
        assert self.gate.wait(LONG)
        if (pixel_values.mean(axis=(2, 3)) == (1, 0, 1)).all(axis=1).any():
            raise ArithmeticError("magenta")
        return super().encode_images(pixel_values)

    def hold(self) -> None:
        self.entered.clear()
        self.gate.clear()


@asynccontextmanager
async def running(engine: FakeEngine, **settings: Any) -> AsyncIterator[AsyncTagger]:
    tagger = AsyncTagger(Tagger(engine=engine, vocabulary=COLOUR_NAMES), Settings(**settings))
    await tagger.start()
    try:
        yield tagger
    finally:
        if isinstance(engine, GatedEngine):
            engine.gate.set()
        await tagger.close(LONG)
    assert tagger._batcher.permits.taken == (0, 0)


async def tag(
    tagger: AsyncTagger, photographs: Sequence[bytes], *vocabularies: Vocabulary
) -> list[ImageResult]:
    async with tagger.tag_many(photographs, vocabularies or [COLOUR_NAMES], Selection()) as tags:
        return await tags.in_order()


def labels(finished: ImageResult) -> list[tuple[str, ...]]:
    assert not isinstance(finished.outcome, Exception)
    return [tagging.labels for tagging in finished.outcome]


def plain(colour: str, size: tuple[int, int] = (20, 20)) -> bytes:
    return samples.encode(Image.new("RGB", size, colour), "PNG")


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), LONG))


def test_several_vocabularies_share_one_image_pass() -> None:
    async def test() -> None:
        engine = FakeEngine()
        async with running(engine) as tagger:
            before = list(engine.batches)
            warm = Vocabulary.from_names(["red", "white"], "warm")
            (both,) = await tag(tagger, [samples.jpeg()], COLOUR_NAMES, warm)
            assert engine.batches == [*before, 1]
            assert not isinstance(both.outcome, Exception)
            assert [tagging.vocabulary.name for tagging in both.outcome] == ["colours", "warm"]
            alone = Tagger(engine=engine)
            expected = [alone.tag(samples.jpeg(), each) for each in (COLOUR_NAMES, warm)]
            assert list(both.outcome) == expected
            assert both.seconds.decode > 0
            assert both.seconds.model > 0

    run(test)


def test_invalid_images_and_model_errors_do_not_affect_others() -> None:
    async def test() -> None:
        async with running(GatedEngine()) as tagger:
            photographs = [plain("red"), b"garbage", POISON, samples.jpeg(200, 100)[:700], plain("blue")]
            red, garbage, poison, damaged, blue = await tag(tagger, photographs)
            assert (labels(red), labels(blue)) == ([("red",)], [("blue",)])
            assert isinstance(garbage.outcome, UnsupportedImageError)
            assert isinstance(poison.outcome, ArithmeticError)
            assert getattr(damaged.outcome, "code", None) == "damaged-image"

    run(test)


def test_short_request_does_not_wait_for_a_whole_long_request() -> None:
    async def test() -> None:
        engine = GatedEngine()
        async with running(engine, threads=1, batch_images=2) as tagger:
            engine.hold()
            blocker = asyncio.create_task(tag(tagger, [plain("white")]))
            await asyncio.to_thread(engine.entered.wait, LONG)
            order: list[str] = []

            async def ask(name: str, count: int) -> None:
                async with tagger.tag_many([plain("red")] * count, [COLOUR_NAMES], Selection()) as tags:
                    async for _ in tags.as_finished():
                        order.append(name)

            asked = [asyncio.create_task(ask("long", 12))]
            while tagger._batcher.permits.taken[0] < 13:
                await asyncio.sleep(0.001)
            asked.append(asyncio.create_task(ask("short", 1)))
            while len(tagger._batcher._worker._queue) < 13:
                await asyncio.sleep(0.001)
            engine.gate.set()
            await asyncio.gather(blocker, *asked)
            assert order.index("short") < 12

    run(test)


def test_full_queue_rejects_whole_requests_by_count_and_pixels() -> None:
    async def test() -> None:
        engine = GatedEngine()
        async with running(engine, queue_images=3, queue_pixels=5000) as tagger:
            engine.hold()
            waiting = asyncio.create_task(tag(tagger, [plain("red", (50, 60))]))
            await asyncio.to_thread(engine.entered.wait, LONG)
            for photographs in ([plain("red")] * 3, [plain("red", (50, 50))]):
                with pytest.raises(OverloadedError):
                    await tag(tagger, photographs)
            with pytest.raises(RequestTooLargeError):
                await tag(tagger, [plain("red")] * 4)
            tagger.check_room()
            # Nobody needs room for what is no photograph.
            (refused,) = await tag(tagger, [b"garbage"])
            assert isinstance(refused.outcome, UnsupportedImageError)
            engine.gate.set()
            assert labels((await waiting)[0]) == [("red",)]
            assert labels((await tag(tagger, [plain("blue")] * 3))[2]) == [("blue",)]

    run(test)


def test_cancelled_request_removes_its_images_from_the_queue() -> None:
    async def test() -> None:
        engine = GatedEngine()
        async with running(engine, threads=1) as tagger:
            engine.hold()
            first = asyncio.create_task(tag(tagger, [plain("white")]))
            await asyncio.to_thread(engine.entered.wait, LONG)
            leaving = asyncio.create_task(tag(tagger, [plain("red")] * 20))
            while tagger._batcher.permits.taken[0] < 21:
                await asyncio.sleep(0.001)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            assert tagger._batcher.permits.taken[0] == 1
            before = sum(engine.batches)
            engine.gate.set()
            await first
            assert labels((await tag(tagger, [plain("blue")]))[0]) == [("blue",)]
            assert sum(engine.batches) == before + 2

    run(test)


def test_label_encoding_runs_once_without_blocking_other_requests() -> None:
    async def test() -> None:
        engine, go_on = FakeEngine(), threading.Event()
        encode = engine.encode_labels

        def slow(vocabulary: Vocabulary, progress: Any = None) -> FakeFeatures:
            assert vocabulary.name == "colours" or go_on.wait(LONG)
            return encode(vocabulary, progress)

        engine.encode_labels = slow  # type: ignore[method-assign]
        async with running(engine, threads=1, request_seconds=LONG) as tagger:
            many = [
                asyncio.create_task(tag(tagger, [plain("red")], _other(["red", "dog"]))) for _ in range(6)
            ]
            assert labels((await tag(tagger, [plain("blue")]))[0]) == [("blue",)]
            go_on.set()
            for finished in await asyncio.gather(*many):
                assert labels(finished[0]) == [("red",)]
            assert engine.encoded == [COLOUR_NAMES.names, ("red", "dog")]

    run(test)


def _other(names: list[str]) -> Vocabulary:
    return Vocabulary.from_names(names, "other")


def test_deadline_applies_to_label_encoding_and_to_the_model() -> None:
    async def test() -> None:
        engine = GatedEngine()
        async with running(engine, request_seconds=0.05) as tagger:
            engine.hold()
            (late,) = await tag(tagger, [plain("red")])
            assert isinstance(late.outcome, DeadlineError)
            engine.gate.set()
            go_on = threading.Event()
            encode = engine.encode_labels
            engine.encode_labels = lambda *a: go_on.wait(LONG) and encode(*a)  # type: ignore[method-assign]
            with pytest.raises(DeadlineError):
                await tag(tagger, [plain("red")], _other(["dog"]))
            go_on.set()

    run(test)


def test_readiness_requires_a_recent_result_or_a_successful_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_tagger, "_PROBE_SECONDS", 0.05)

    async def test() -> None:
        engine = GatedEngine()
        async with running(engine) as tagger:
            engine.hold()
            await tagger.check_ready()
            monkeypatch.setattr(async_tagger, "_RECENT_SECONDS", 0.0)
            with pytest.raises(NotReadyError, match="does not answer"):
                await tagger.check_ready()
            engine.gate.set()
            monkeypatch.setattr(async_tagger, "_PROBE_SECONDS", LONG)
            await tagger.check_ready()
            assert engine.batches[-1] == 1

    run(test)


def test_decoders_that_do_not_answer_end_the_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_tagger, "_RECENT_SECONDS", 0.0)

    async def test() -> None:
        async with running(GatedEngine()) as tagger:
            await tagger.check_ready()

            def fail(_pool: DecoderPool, _deadline: float) -> None:
                raise DeadlineError("the photograph was not decoded in time", "")

            monkeypatch.setattr(DecoderPool, "check", fail)
            with pytest.raises(NotReadyError, match="not decoded in time"):
                await tagger.check_ready()

    run(test)


def test_failing_model_does_not_start() -> None:
    async def test() -> None:
        engine = FakeEngine()
        engine.score = None  # type: ignore[assignment, method-assign]
        with pytest.raises(TypeError):
            async with running(engine):
                pass

    run(test)
