import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from vocabulary_strategies import vocabularies

from sigrl.model.label_lists import COLUMNS, read_labels
from sigrl.model.vocabulary import Label, Vocabulary, VocabularyError

SHARED = Path(__file__).parents[3] / "shared" / "data" / "labels"

TABLE = """name,synonyms,prompts,description,parent,exclusive_group,threshold,name:de,name:pt-BR
dog,"hound | puppy",a photo of a {label}|{label},"barks, mostly",animal,kind,0.4,Hund,cão
cat,,,,animal,kind,,,
animal,,,,,,,,

"""


def test_open_images_list_keeps_identifiers_as_descriptions() -> None:
    plain = '/m/0bt9lr,Dog\n/m/01c_0l,"Ducks, geese and swans"\n/m/01,Organ\n/m/02,organ\n'
    for text in (plain, "LabelName,DisplayName\n" + plain, plain.replace("\n", "\r\n")):
        assert read_labels(text, ".csv") == [
            {"name": "Dog", "description": "/m/0bt9lr"},
            {"name": "Ducks, geese and swans", "description": "/m/01c_0l"},
            {"name": "Organ", "description": "/m/01 /m/02"},
        ]


def test_ram_tag_list_has_one_label_per_line() -> None:
    assert read_labels("3D CG rendering\n3D glasses\nabacus", "") == [
        "3D CG rendering",
        "3D glasses",
        "abacus",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_table_can_set_every_label_field(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "pets.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(csv.reader(io.StringIO(TABLE)))
    assert Vocabulary.load(path) == Vocabulary(
        name="pets",
        labels=(
            Label(
                name="dog",
                synonyms=("hound", "puppy"),
                prompts=("a photo of a {label}", "{label}"),
                description="barks, mostly",
                parent="animal",
                exclusive_group="kind",
                threshold=0.4,
                translations={"de": "Hund", "pt-BR": "cão"},
            ),
            Label(name="cat", parent="animal", exclusive_group="kind"),
            Label(name="animal"),
        ),
    )


def test_every_label_field_has_a_csv_column() -> None:
    assert {column.partition(":")[0] for column in COLUMNS} == set(Label.model_fields) - {"translations"}


def test_csv_table_with_only_a_name_column_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pets.csv"
    path.write_text("name\ndog\n\nguinea pig\n")
    assert Vocabulary.load(path).names == ("dog", "guinea pig")


@given(vocabularies())
def test_csv_table_round_trips_arbitrary_names(vocabulary: Vocabulary) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["name", "parent", "description"])
    writer.writerows([label.name, label.parent, label.description] for label in vocabulary.labels)
    labels = read_labels(file.getvalue(), ".csv")
    assert [label["name"] for label in labels] == list(vocabulary.names)
    assert [label.get("parent") for label in labels] == [label.parent for label in vocabulary.labels]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no label"),
        ("1,Person,Person\n2,Sneakers,Sneakers\n", "no `name` in '1,Person,Person'"),
        ("name,colour\ndog,brown\n", "no column 'colour'"),
        ("name,parent\ndog,animal,brown\n", "'dog' has 3 cells for 2 columns"),
        ("name,threshold\ndog,high\n", "threshold"),
        ("name,parent\n" + "x" * 200_000, "not a table"),
    ],
)
def test_unreadable_csv_table_is_reported_with_file_and_reason(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pets.csv"
    path.write_text(text)
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.load(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.skipif(not SHARED.exists(), reason="published lists are not here")
def test_published_lists_are_read_completely() -> None:
    counts = {"openimages_class_descriptions.csv": 19_706, "ram_tags4585.txt": 4_585, "nuswide81.txt": 81}
    for name, count in counts.items():
        assert len(Vocabulary.load(SHARED / name).labels) == count
