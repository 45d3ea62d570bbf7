import asyncio

import pytest

from sigrl.service.errors import IdempotencyKeyError
from sigrl.service.http.idempotency import Answers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def _answer(answers: Answers, key: str | None, body: bytes, fingerprint: str = "f") -> bytes:
    async with answers.once(key, fingerprint) as attempt:
        if attempt.answer is None:
            attempt.answer = body
        return attempt.answer


def test_first_response_is_replayed_for_ten_minutes() -> None:
    clock = Clock()
    answers = Answers(1000, clock)

    async def test() -> None:
        assert await _answer(answers, "key", b"first") == b"first"
        clock.now = 599
        assert await _answer(answers, "key", b"second") == b"first"
        assert await _answer(answers, "other", b"second") == b"second"
        clock.now = 601
        assert await _answer(answers, "key", b"third") == b"third"
        assert await _answer(answers, None, b"a") == b"a"
        assert await _answer(answers, None, b"b") == b"b"

    asyncio.run(test())


def test_stored_responses_are_limited_and_oldest_dropped_first() -> None:
    async def test() -> None:
        answers = Answers(10)
        for key in "abc":
            await _answer(answers, key, key.encode() * 4)
        assert [await _answer(answers, key, b"new!") for key in "bca"] == [b"bbbb", b"cccc", b"new!"]
        assert await _answer(answers, "long", b"x" * 11) == b"x" * 11
        assert await _answer(answers, "long", b"y") == b"y"

    asyncio.run(test())


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "a\x00"])
def test_invalid_idempotency_key_is_rejected(key: str) -> None:
    with pytest.raises(IdempotencyKeyError, match="UUID"):
        asyncio.run(_answer(Answers(1000), key, b"body"))


def test_idempotency_key_of_another_request_is_rejected() -> None:
    async def test() -> None:
        answers = Answers(1000)
        async with answers.once("key", "f"):
            with pytest.raises(IdempotencyKeyError, match="another request"):
                await _answer(answers, "key", b"", "g")
        await _answer(answers, "key", b"body", "f")
        with pytest.raises(IdempotencyKeyError, match="another request"):
            await _answer(answers, "key", b"", "g")

    asyncio.run(test())


@pytest.mark.parametrize("end", ["answers", "fails", "leaves"])
def test_repeated_request_waits_for_the_first_and_runs_if_it_fails(end: str) -> None:
    async def test() -> None:
        answers, go_on = Answers(1000), asyncio.Event()

        async def first() -> None:
            async with answers.once("key", "f") as attempt:
                await go_on.wait()
                if end == "fails":
                    raise ZeroDivisionError
                attempt.answer = b"first"

        task = asyncio.create_task(first())
        await asyncio.sleep(0)
        repetitions = [asyncio.create_task(_answer(answers, "key", f"{n}".encode())) for n in (2, 3)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in repetitions)
        if end == "leaves":
            task.cancel()
        go_on.set()
        await asyncio.gather(task, return_exceptions=True)
        same = {await each for each in repetitions}
        assert same == ({b"first"} if end == "answers" else {b"2"})

    asyncio.run(test())
