"""What is looked at before a request is admitted, and where."""

import asyncio
import io
import threading

import pytest
from PIL import Image

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import UnsupportedImageError
from sigrl.service.images.decoding_cost import DecodingCost
from sigrl.service.serving import admission
from sigrl.service.tagging.scoring import QUICK_LABELS
from sigrl.service.tagging.tagger import Tagger


def file_of(kind: str, side: int = 32) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(content, kind, quality=100)
    return content.getvalue()


def test_admission_returns_a_cost_or_an_error_per_image(tagger: Tagger) -> None:
    photographs = [file_of("JPEG"), b"no photograph"]
    (cost, error), (used,) = asyncio.run(admission.look_at_request(tagger, photographs, [tagger.vocabulary]))
    assert isinstance(cost, DecodingCost)
    assert cost.pixels == 32 * 32
    assert isinstance(error, UnsupportedImageError)
    assert used.name == tagger.vocabulary.name


@pytest.mark.parametrize(
    ("photograph", "labels", "in_loop"),
    [
        (file_of("JPEG"), QUICK_LABELS, True),
        (file_of("JPEG"), QUICK_LABELS + 1, False),
        (file_of("JPEG", 512), 1, False),
        (file_of("PNG"), 1, False),
    ],
)
def test_only_quick_admission_checks_run_in_the_event_loop(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch, photograph: bytes, labels: int, in_loop: bool
) -> None:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(admission, "decoding_cost", lambda *_: threads.append(threading.current_thread()))
    vocabulary = Vocabulary.from_names([f"label {number}" for number in range(labels)])
    asyncio.run(admission.look_at_request(tagger, [photograph], [vocabulary]))
    assert (threads == [threading.main_thread()]) is in_loop
