"""An imported model's own probabilities are shifted by how common each word is, until it is calibrated."""

from pathlib import Path

import numpy as np
import pytest

from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.calibration import sigmoid
from sigrl.model.commonness import Commonness, by_commonness, known_commonness
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import Description
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Label, Vocabulary

KNOWN = Commonness({"dog": 0, "hound": 0, "cat": 1, "volcano": 2}, np.array([2, 0, -4], np.float32))
PIXELS = np.random.default_rng(0).standard_normal((3, 3, 64, 64), dtype=np.float32)


def test_a_common_word_gains_and_a_rare_one_loses() -> None:
    labels = [
        Label(name="Dog"),
        Label(name="pet", synonyms=("hound",)),
        Label(name="cat"),
        Label(name="volcano"),
        Label(name="no known word"),
        Label(name="dog", prompts=("a hot dog",)),
    ]
    expected = [[offset, 1, 0.5] for offset in (2, 2, 0, -4, -2, -2)]
    np.testing.assert_allclose(by_commonness(labels, 0.5, KNOWN), expected)
    np.testing.assert_allclose(by_commonness(labels[:1], 0.3, None), [[0, 1, 0.3]])


def test_the_bundled_checkpoint_knows_what_is_common() -> None:
    known = known_commonness()
    assert known is not None
    shift = {name: known.log_odds[known.rows[name]] for name in ("person", "tree", "volcano")}
    assert shift["person"] > shift["tree"] > 0 > shift["volcano"]


@pytest.fixture
def imported(tmp_path: Path, tiny_description: Description, tokenizer_definition: bytes) -> Path:
    """A bundle with the clip head of an import."""
    head = HeadConfig(kind="clip", adds_commonness=True)
    description = tiny_description.model_copy(update={"head": head})
    model = TaggingModel(description.backbone, head, tokenizer_definition)
    save_bundle(tmp_path / "imported", description, model.state_dict(), tokenizer_definition)
    return tmp_path / "imported"


def test_an_imported_model_adds_it_to_its_own_logits(imported: Path) -> None:
    engine = TorchEngine.load(imported, "cpu", precision="float32")
    vocabulary = Vocabulary.from_names(("person", "volcano", "no known word"))
    labels = engine.encode_labels(vocabulary)
    logits = engine.score(engine.encode_images(PIXELS), labels)
    offsets = by_commonness(vocabulary.labels, 0.5, known_commonness())[:, 0]
    np.testing.assert_allclose(engine.probabilities(logits, labels), sigmoid(logits + offsets), atol=1e-6)
    assert not engine.calibrated
    kept = engine.unpack_labels(engine.pack_labels(labels))
    np.testing.assert_array_equal(engine.probabilities(logits, kept), engine.probabilities(logits, labels))
