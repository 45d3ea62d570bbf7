import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import sample_images as samples
from fake_engine import COLOURS, FakeEngine, FakeFeatures
from PIL import Image

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service import errors
from sigrl.service.images import decoding as images
from sigrl.service.images.files import ImageLimits
from sigrl.service.tagging import image_tower
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.builtin import builtin


def test_path_bytes_and_opened_image_give_the_same_tags(tagger: Tagger, photograph: Path) -> None:
    sources = [photograph, str(photograph), photograph.read_bytes(), Image.open(photograph)]
    answers = [tagger.tag(source, list(COLOURS)) for source in sources]
    assert answers[0].labels in (("red", "blue"), ("blue", "red"))
    assert all(answer == answers[0] for answer in answers)


def test_result_names_its_checkpoint_and_vocabulary(tagger: Tagger, photograph: Path) -> None:
    answer = tagger.tag(photograph, ["red", "dog"], top_k=2)
    assert answer.checkpoint == "sha256:fake"
    assert (answer.vocabulary.name, answer.vocabulary.size) == ("labels", 2)
    assert answer.vocabulary.hash == Vocabulary.from_names(["red", "dog"]).content_hash
    assert [(tag.label, tag.accepted) for tag in answer.tags] == [("red", True), ("dog", False)]


def test_numpy_has_one_thread_while_a_photograph_is_scored(
    tagger: Tagger, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = MagicMock()
    monkeypatch.setattr(image_tower, "blas_on_one_thread", limit)
    tagger.tag(photograph, ["red"])
    limit.return_value.__enter__.assert_called_once()
    limit.return_value.__exit__.assert_called_once()


def test_default_vocabulary_is_used_without_labels(tagger: Tagger, photograph: Path) -> None:
    answer = tagger.tag(photograph, threshold=0.01)
    assert (answer.vocabulary.name, answer.vocabulary.hash) == ("default", builtin("default").content_hash)
    free = {label.name for label in builtin("default").labels if label.exclusive_group is None}
    assert free <= {tag.label for tag in answer.tags}
    own = Vocabulary(name="mine", labels=(Label(name="red", threshold=0.99),))
    answer = Tagger(engine=tagger.engine, vocabulary=own).tag(photograph)
    assert (answer.vocabulary.name, answer.tags) == ("mine", ())


def test_invalid_image_does_not_affect_the_others(tagger: Tagger, photograph: Path) -> None:
    sources = [photograph, b"garbage", photograph.parent / "absent.jpg", photograph]
    first, garbage, absent, last = tagger.tag_many(sources, ["red"])
    assert first == last
    assert isinstance(garbage, errors.UnsupportedImageError)
    assert isinstance(absent, errors.ImageNotFoundError)


def test_tag_many_batches_in_order_and_reads_lazily(tagger: Tagger, engine: FakeEngine) -> None:
    read: list[int] = []

    def sources() -> object:
        for number in range(20):
            read.append(number)
            yield Image.new("RGB", (8, 8), "red" if number % 3 else "blue")

    answers = tagger.tag_many(sources(), ["red", "blue"])
    assert read == []
    assert next(answers).labels == ("blue",)
    # A batch, and the next one, which is decoded meanwhile.
    assert len(read) == 16
    assert [answer.labels[0] for answer in answers][:3] == ["red", "red", "blue"]
    assert engine.batches == [8, 8, 4]
    assert len(engine.encoded) == 1


def test_next_images_are_decoded_while_the_model_runs(
    tagger: Tagger, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, ahead, encode = [], threading.Event(), engine.encode_images
    decode = images.open_image

    def open_image(*arguments: object) -> object:
        decoded.append(threading.current_thread())
        if len(decoded) > 8:
            ahead.set()
        return decode(*arguments)

    def encode_images(pixel_values: np.ndarray) -> FakeFeatures:
        assert ahead.wait(60)
        return encode(pixel_values)

    monkeypatch.setattr(images, "open_image", open_image)
    engine.encode_images = encode_images  # type: ignore[method-assign]
    assert len(list(tagger.tag_many([samples.jpeg()] * 16, ["red"]))) == 16
    assert threading.main_thread() not in decoded


def test_invalid_arguments_are_rejected_immediately(tagger: Tagger) -> None:
    with pytest.raises(errors.InvalidLabelsError):
        tagger.tag_many([], [])
    with pytest.raises(errors.InvalidLabelsError, match="list of names"):
        tagger.tag_many([], "dog")
    with pytest.raises(errors.ParameterError):
        tagger.tag_many([], top_k=0)


def test_labels_are_not_encoded_for_rejected_images(tagger: Tagger, engine: FakeEngine) -> None:
    with pytest.raises(errors.DamagedImageError):
        tagger.tag(b"", ["red"])
    assert engine.encoded == []
    assert list(tagger.tag_many([], ["red"])) == []


def test_prepare_encodes_labels_once_and_reports_progress(
    tagger: Tagger, engine: FakeEngine, photograph: Path
) -> None:
    done: list[int] = []
    tagger.prepare(["red", "dog"], done.append)
    tagger.tag(photograph, ["red", "dog"])
    assert done == [2]
    assert len(engine.encoded) == 1


def test_tagger_can_be_shared_by_threads(photograph: Path) -> None:
    tagger = Tagger(engine=FakeEngine(delay=0.005))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: tagger.tag(photograph, ["red", "green"]), range(16)))
    assert all(answer == answers[0] for answer in answers)


def test_nan_scores_raise_model_error(tagger: Tagger, engine: FakeEngine) -> None:
    engine.score = lambda images, _labels: np.full((len(images.values), 1), np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(errors.ModelError):
        tagger.tag(samples.jpeg(), ["red"])


def test_image_limits_are_passed_to_the_decoder(engine: FakeEngine) -> None:
    with pytest.raises(errors.ImageTooLargeError):
        Tagger(engine=engine, limits=ImageLimits(max_pixels=100)).tag(samples.jpeg())


def test_importing_service_loads_no_heavy_modules() -> None:
    code = (
        "import sys, service; heavy = {'PIL', 'numpy', 'pydantic'} & set(sys.modules); "
        "from sigrl import Tagger; sys.exit(bool(heavy or {'torch', 'fastapi'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
