from pathlib import Path

import pytest

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.images.decoding import decode

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOGRAPHS = sorted(EXAMPLES.glob("*.jpg"))


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.name)
def test_example_images_are_small_and_their_licence_is_stated(path: Path) -> None:
    data = path.read_bytes()
    assert len(data) < 200_000
    assert min(decode(data).size) >= 224
    assert f"`{path.name}`" in (EXAMPLES / "README.md").read_text()


def test_example_vocabulary_uses_every_independent_label_field() -> None:
    labels = Vocabulary.load(EXAMPLES / "vocabulary.json").labels
    used = {name for label in labels for name in label.model_dump(exclude_defaults=True)}
    assert used == set(Label.model_fields) - {"parent", "exclusive_group"}
