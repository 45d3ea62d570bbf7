"""Long lists of new labels take turns with others, and stop when nobody waits for them."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sample_images as samples
from fake_engine import FakeEngine, FakeFeatures
from fastapi.testclient import TestClient

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.app import create_app
from sigrl.service.batching.turns import AbandonedError, Turns
from sigrl.service.database.database import Database
from sigrl.service.errors import DeadlineError
from sigrl.service.keys.key import KeyScope
from sigrl.service.keys.store import KeyStore
from sigrl.service.observability.context import SERVED, Served
from sigrl.service.serving.async_tagger import AsyncTagger
from sigrl.service.settings import Settings
from sigrl.service.tagging.label_cache import LabelCache
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger

PHOTOGRAPH = samples.jpeg()


class SlowTextEngine(FakeEngine):
    """Encodes a label at a time, for ever where the list is a long one."""

    running = 0

    def encode_labels(
        self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None
    ) -> FakeFeatures:
        if len(vocabulary.labels) > 100:
            self.running += 1
            try:
                while True:
                    time.sleep(0.01)
                    assert progress is not None
                    progress(0)
            finally:
                self.running -= 1
        return super().encode_labels(vocabulary, progress)


def _long(number: int) -> Vocabulary:
    return Vocabulary.from_names([f"word {number} {each}" for each in range(101)])


async def _tag(tagger: AsyncTagger, vocabulary: Vocabulary) -> None:
    async with tagger.tag_many([PHOTOGRAPH], [vocabulary], Selection(1)) as tags:
        await tags.in_order()


def test_short_label_list_is_answered_while_long_ones_time_out() -> None:
    engine = SlowTextEngine()

    async def test() -> None:
        settings = Settings(threads=1, request_seconds=3.0)
        tagger = AsyncTagger(Tagger(engine=engine, vocabulary=Vocabulary.from_names(["red"])), settings)
        await tagger.start()
        long = [asyncio.create_task(_tag(tagger, _long(number))) for number in range(3)]
        while engine.running < 2:
            await asyncio.sleep(0.01)
        await _tag(tagger, Vocabulary.from_names(["blue"]))
        assert not any(task.done() for task in long)
        outcomes = await asyncio.gather(*long, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DeadlineError] * 3
        for _ in range(1000):
            if not engine.running:
                break
            await asyncio.sleep(0.01)
        assert engine.running == 0
        await tagger.close(0)

    asyncio.run(test())


def test_turns_are_given_in_rotation() -> None:
    turns, order = Turns(1), []
    everybody_waits = threading.Event()

    def work(name: str) -> None:
        with turns.turn(threading.Event()) as turn:
            for _ in range(2):
                everybody_waits.wait(60)
                order.append(name)
                turn.pause(0)

    with ThreadPoolExecutor(3) as pool:
        working = []
        for count, name in enumerate("abc"):
            working.append(pool.submit(work, name))
            while len(turns._waiting) < count:
                time.sleep(0.001)
        everybody_waits.set()
        for each in working:
            each.result(60)
    assert "".join(order) == "abcabc"


def test_deadline_counts_from_the_request_arrival() -> None:
    engine = SlowTextEngine()

    async def test() -> None:
        settings = Settings(threads=1, request_seconds=60.0)
        tagger = AsyncTagger(Tagger(engine=engine, vocabulary=Vocabulary.from_names(["red"])), settings)
        await tagger.start()
        SERVED.set(Served("request", arrived=time.monotonic() - 61))
        with pytest.raises(DeadlineError):
            await _tag(tagger, _long(0))
        await tagger.close(0)

    asyncio.run(test())


def test_waiting_caller_takes_over_an_abandoned_encoding() -> None:
    cache, began, go_on = LabelCache(10**9), threading.Event(), threading.Event()

    def abandoned() -> FakeFeatures:
        began.set()
        go_on.wait(60)
        raise AbandonedError

    features = FakeFeatures(np.zeros((1, 4), np.float32))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, ("c", "v", ""), abandoned)
        began.wait(60)
        second = pool.submit(cache.get, ("c", "v", ""), lambda: features)
        go_on.set()
        with pytest.raises(AbandonedError):
            first.result(60)
        assert second.result(60) is features


def test_tag_scope_key_has_a_new_label_budget(tagger: Tagger) -> None:
    settings = Settings(keys="required", new_labels_per_minute=3)
    database = Database.open(settings)
    keys = {scope: KeyStore(database).create("key", scope) for scope in (KeyScope.TAG, KeyScope.ADMIN)}
    database.close()
    with TestClient(create_app(settings, tagger)) as client:

        def ask(scope: KeyScope, labels: str) -> int:
            headers = {"Authorization": f"Bearer {keys[scope][1]}"}
            answer = client.post("/v1/tag", params={"labels": labels}, content=PHOTOGRAPH, headers=headers)
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) > 60
                assert "new labels" in answer.json()["detail"]
            return answer.status_code

        # A list that begins within the budget may end beyond it.
        assert ask(KeyScope.TAG, "red,a,b,c,d,e,f") == 200
        assert ask(KeyScope.TAG, "g") == 429
        # What is in memory costs nothing, and other scopes have no budget.
        assert ask(KeyScope.TAG, "red,a,b,c,d,e,f") == 200
        assert ask(KeyScope.ADMIN, "g") == 200
