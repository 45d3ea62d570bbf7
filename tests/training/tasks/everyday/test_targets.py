"""From the data sets' labels to matrices, and what is hidden from them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.data import EverydayData, load_data
from sigrl.training.tasks.everyday.names import ClassNames, Mentions

SHIPPED = Path(__file__).parents[4] / "service" / "vocabularies" / "everyday.json"
Config = Callable[..., EverydayConfig]


def known(data: EverydayData, source: str, name: str) -> dict[str, int]:
    """The known labels of a photograph, by word."""
    row = next(n for n, one in enumerate(data.told) if (one.source, one.path.name) == (source, name))
    values = zip(data.targets.known_words, data.targets.known[row].tolist(), strict=True)
    return {word: value for word, value in values if value}


def mentioned(data: EverydayData, source: str, name: str) -> set[str]:
    row = next(n for n, one in enumerate(data.told) if (one.source, one.path.name) == (source, name))
    return {data.targets.words[place] for place in data.targets.mentions[row]}


@pytest.fixture(scope="module")
def shipped() -> ClassNames:
    vocabulary = Vocabulary.load(SHIPPED)
    return ClassNames(vocabulary.names, vocabulary)


@pytest.mark.parametrize("table", ["coco", "also", "folders", "caption_words"])
def test_mapping_tables_contain_only_vocabulary_names(shipped: ClassNames, table: str) -> None:
    meant = set(shipped.tables[table].values())
    assert {word for word in meant if shipped.find(word) is None} == set()


def test_classes_are_found_by_folder_path(shipped: ClassNames) -> None:
    assert shipped.of_folder("grocery", "Packages/Juice/Bravo-Apple-Juice") == {"food", "juice"}
    assert shipped.of_folder("places", "c/church/outdoor") == {"church"}
    assert shipped.of_folder("clothing", "T-Shirt") == {"t-shirt", "clothing"}
    assert shipped.class_words("b/bakery/shop") == ["bakery", "shop"]
    assert shipped.class_words("c/church/outdoor") == ["church"]


def test_caption_mentions_prefer_the_longest_match(shipped: ClassNames) -> None:
    finder = Mentions(shipped.caption_forms())
    assert finder.find("A hot dog beside two men in T-shirts") == {"hot dog", "man", "t-shirt"}
    assert finder.find("a train of people") == {"person"}


def test_vocabulary_without_the_names_is_rejected() -> None:
    with pytest.raises(DataError, match="zebra"):
        ClassNames(["zebra"], Vocabulary.from_names(["dog"]))


def test_dense_labels_are_known_except_unsure_ones(everyday: Config) -> None:
    data = load_data(everyday())
    found = known(data, "everyday", "D0.jpg")
    assert {word for word, value in found.items() if value > 0} == {"person", "man", "tree"}
    assert "car" not in found
    # COCO labels that match no name were never labelled there.
    assert found.keys().isdisjoint({"sports ball", "mouse", "keyboard"})


def test_exact_labels_and_captions_imply_parents(everyday: Config) -> None:
    data = load_data(everyday())
    assert known(data, "coco", "100.jpg") == {
        "person": 1,
        "airplane": 1,
        "vehicle": 1,
        "car": -1,
        "cat": -1,
        "dog": -1,
        "puppy": -1,
        "man": 1,
    }
    # Without exact labels, only a caption's words are known.
    assert known(data, "coco_course", "9.jpg") == {"airplane": 1, "vehicle": 1}
    # A caption does not override a negative label.
    assert known(data, "coco_course", "2.jpg")["dog"] == -1
    assert known(data, "scenes", "0.jpg") == {"kitchen": 1}


def test_other_words_come_from_captions_and_classes(everyday: Config) -> None:
    data = load_data(everyday())
    assert set(data.targets.words) == {"bridge", "wing", "cloud", "airplanes", "cat tree", "old bridge"}
    assert mentioned(data, "coco", "101.jpg") == {"bridge"}
    assert mentioned(data, "scenes", "2.jpg") == {"old bridge"}


def test_caption_mentions_contradicted_by_dense_labels_are_ignored(everyday: Config, folders: Path) -> None:
    lines, rows = [], ["ImageID,Labels,Caption"]
    source = "Mike0429/COMP5329DeepLearningA2_ViT"
    for number in range(8):
        lines.append({"id": f"D{number}", "split": "train", "labels": ["animal"], "unsure": []})
        lines[-1] |= {"source": source, "path": f"data/{number}.jpg"}
        rows.append(f'{number}.jpg,1,"a tree and an animal"')
    (folders / "everyday" / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folders / "course" / "train.csv").write_text("\n".join(rows))
    assert load_data(everyday()).targets.doubtful == ("tree",)


def test_hidden_words_are_in_no_target(everyday: Config) -> None:
    data = load_data(everyday(hidden_words=("airplane", "cat")))
    assert data.hidden == ("cat", "airplane")
    columns = [data.targets.known_words.index(word) for word in data.hidden]
    assert not data.targets.known[:, columns].any()
    # Words that are not hidden stay, and so do captions.
    assert known(data, "everyday", "D2.jpg")["vehicle"] == 1
    assert any("plane" in text for one in data.told for text in one.captions)
    # Captions may name them, as they may name any other word.
    assert {"airplane", "cat", "cat tree"} < set(data.targets.words)
    assert "airplane" in mentioned(data, "coco_course", "9.jpg")
    # COCO labels do not reveal hidden words by implication either.
    assert "vehicle" not in known(data, "coco", "100.jpg")


def test_hiding_coco_labels_hides_captions_and_narrower_names(everyday: Config) -> None:
    data = load_data(everyday(hidden_coco=("dog", "airplane"), other_names={"airplane": ("plane",)}))
    assert set(data.hidden) == {"dog", "puppy", "airplane"}
    columns = [data.targets.known_words.index(word) for word in data.hidden]
    assert not data.targets.known[:, columns].any()
    assert {text for one in data.told for text in one.captions} == {"a cat under a bridge"}
    assert all(not one.coco_positive & {"dog", "airplane"} for one in data.told)
    # The labels for evaluation still include hidden words.
    assert any("dog" in one.positive for one in data.photographs)


def test_class_folder_of_a_hidden_word_gives_no_labels(everyday: Config) -> None:
    data = load_data(everyday(hidden_words=("kitchen",)))
    assert known(data, "scenes", "0.jpg") == {}
    assert mentioned(data, "scenes", "0.jpg") == set()
    assert known(data, "scenes", "1.jpg") == {"forest": 1}


def test_unknown_hidden_word_is_rejected(everyday: Config) -> None:
    with pytest.raises(DataError, match="zebra"):
        load_data(everyday(hidden_words=("zebra",)))


def test_without_hidden_words_the_data_is_unchanged(everyday: Config) -> None:
    data = load_data(everyday())
    assert data.hidden == ()
    assert data.told == data.photographs
    assert np.abs(data.targets.known).sum() > 0
