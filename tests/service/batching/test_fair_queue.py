from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from sigrl.service.batching.fair_queue import FairQueue


@dataclass(eq=False)
class Waiting:
    request: int
    pixels: int = 1
    gone: bool = False


def _take(queue: FairQueue[Waiting], items: int = 100, pixels: int = 100) -> list[Waiting]:
    return queue.take(items, pixels, lambda entry: not entry.gone)


def test_single_image_does_not_wait_for_a_large_request() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(64):
        queue.put(1, Waiting(1))
    queue.put(2, Waiting(2))
    assert [entry.request for entry in _take(queue, items=4)] == [1, 2, 1, 1]


def test_item_larger_than_a_batch_is_taken_alone() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for pixels in (3, 50, 3, 3):
        queue.put(1, Waiting(1, pixels))
    sizes = [[entry.pixels for entry in _take(queue, pixels=7)] for _ in range(3)]
    assert sizes == [[3], [50], [3, 3]]
    assert (len(queue), _take(queue)) == (0, [])


puts = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 9), st.sampled_from(["stays", "stays", "leaves", "expires"])),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(puts, st.integers(1, 6), st.integers(1, 20))
def test_queue_keeps_order_within_requests_and_alternates_between_them(
    arrivals: list[tuple[int, int, str]], items: int, pixels: int
) -> None:
    queue: FairQueue[Waiting] = FairQueue()
    entries = [(Waiting(request, size), what) for request, size, what in arrivals]
    for entry, _ in entries:
        queue.put(entry.request, entry)
    for entry, what in entries:
        if what == "leaves":
            queue.remove(entry.request, entry)
            queue.remove(entry.request, entry)
        entry.gone = what == "expires"
    staying = [entry for entry, what in entries if what == "stays"]
    assert len(queue) == sum(what != "leaves" for _, what in entries)

    taken: list[Waiting] = []
    while batch := _take(queue, items, pixels):
        assert len(batch) <= items
        assert len(batch) == 1 or sum(entry.pixels for entry in batch) <= pixels
        taken += batch
    assert len(queue) == 0
    for request in range(5):
        assert [e for e in taken if e.request == request] == [e for e in staying if e.request == request]
    # While two requests both have something waiting, neither gets two turns more than the other.
    left, turns = Counter(entry.request for entry in staying), Counter[int]()
    for entry in taken:
        turns[entry.request] += 1
        others = [turns[other] for other in left if left[other] > turns[other]]
        assert turns[entry.request] - min(others, default=turns[entry.request]) <= 1
