import json
import subprocess
import sys
from pathlib import Path

import pytest

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.vocabularies.builtin import BUILTIN, builtin

PETS = """{
  "name": "pets",
  "labels": [
    "animal",
    {"name": "dog", "synonyms": ["hound", "puppy"], "parent": "animal"},
    {"name": "Käfer", "parent": "animal", "threshold": 0.2}
  ]
}
"""


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    path = tmp_path / "pets.json"
    path.write_text(PETS, encoding="utf-8")
    return path


def test_export_returns_the_imported_vocabulary(sigrl, pets: Path, tmp_path: Path) -> None:
    assert sigrl("vocab", "import", pets) == (0, "pets version 1: 3 labels\n", "")
    assert sigrl("vocab", "export", "pets") == (0, PETS, "")
    copy = tmp_path / "copy.json"
    assert sigrl("vocab", "export", "pets", "-o", copy)[0] == 0
    assert copy.read_text(encoding="utf-8") == PETS
    assert sigrl("vocab", "import", copy, "--name", "pets")[1] == "pets version 1: unchanged, 3 labels\n"


def test_changed_import_creates_a_new_version(sigrl, pets: Path, tmp_path: Path) -> None:
    sigrl("vocab", "import", pets)
    changed = tmp_path / "My Pets (new).txt"
    changed.write_text("dog\n")
    assert sigrl("vocab", "import", changed, "--name", "pets")[1] == "pets version 2: 1 label\n"
    assert sigrl("vocab", "import", changed)[1] == "my-pets-new version 1: 1 label\n"
    assert sigrl("vocab", "show", "pets")[1] == "dog\n"
    assert sigrl("vocab", "show", "pets", "--version", 1)[1] == "animal\n  dog (hound, puppy)\n  Käfer\n"


def test_list_shows_built_in_and_registered_vocabularies(sigrl, pets: Path) -> None:
    sigrl("vocab", "import", pets)
    lines = sigrl("vocab", "list")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["name", *BUILTIN, "pets"]
    contents = [json.loads(line) for line in sigrl("vocab", "list", "--json")[1].splitlines()]
    assert contents[-1]["hash"] == Vocabulary.load(pets).content_hash
    assert (contents[-1]["version"], contents[0]["version"], contents[0]["built_in"]) == (1, None, True)


def test_built_in_vocabulary_can_be_shown_and_exported(sigrl) -> None:
    assert len(sigrl("vocab", "show", "coco80")[1].splitlines()) == 80
    exported = sigrl("vocab", "export", "coco80")[1]
    assert Vocabulary.from_json(exported).content_hash == builtin("coco80").content_hash


def test_delete_asks_for_confirmation_unless_yes_is_given(
    sigrl, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigrl("vocab", "import", pets)
    monkeypatch.setattr(sys, "stdin", open("/dev/null"))  # noqa: SIM115
    assert sigrl("vocab", "delete", "pets")[0] == 1
    assert sigrl("vocab", "show", "pets")[0] == 0
    assert sigrl("vocab", "delete", "pets", "--yes") == (0, "pets is deleted\n", "")
    assert sigrl("vocab", "show", "pets")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "cars"], "no vocabulary 'cars'"),
        (["export", "cars", "--version", "3"], "no vocabulary 'cars' in version 3"),
        (["delete", "voc20"], "ships with the package"),
        (["import", "absent.txt"], "absent.txt"),
        (["import", "PETS", "--name", "My Pets"], "name cannot be 'My Pets'"),
        (["import", "PETS", "--name", "voc20"], "ships with the package"),
        (["export", "voc20", "-o", "/absent/file"], "cannot write /absent/file"),
    ],
)
def test_failed_commands_are_reported_in_one_line(sigrl, pets: Path, arguments: list[str], says: str) -> None:
    status, out, err = sigrl("vocab", *(str(pets) if each == "PETS" else each for each in arguments))
    assert (status, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_help_imports_neither_database_nor_model() -> None:
    code = (
        "import sys; from sigrl.service.cli import app\n"
        "try: app(['vocab', 'import', '--help'])\n"
        "except SystemExit: sys.exit(bool({'sqlalchemy', 'alembic', 'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_export_all_can_be_imported_elsewhere(sigrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, labels in (("pets", '["dog", {"name": "cat", "synonyms": ["kitty"]}]'), ("house", '["sofa"]')):
        (tmp_path / f"{name}.json").write_text(labels)
    files = [tmp_path / "pets.json", tmp_path / "house.json"]
    assert sigrl("vocab", "import", *files)[:2] == (0, "pets version 1: 2 labels\nhouse version 1: 1 label\n")
    out = tmp_path / "out"
    assert sigrl("vocab", "export", "--all", "-o", out)[:2] == (0, f"{out}: 2 vocabularies\n")

    monkeypatch.setenv("SIGRL_DATA", str(tmp_path / "elsewhere"))
    exported = sorted(out.iterdir())
    assert sigrl("vocab", "import", *exported)[0] == 0
    again = sigrl("vocab", "import", *exported)[1]
    assert again == "house version 1: unchanged, 1 label\npets version 1: unchanged, 2 labels\n"

    bad = tmp_path / "bad.json"
    bad.write_text("[]")
    assert sigrl("vocab", "import", tmp_path / "house.json", bad, "--name", "one")[0] == 2
    (tmp_path / "new.json").write_text('["one"]')
    assert sigrl("vocab", "import", tmp_path / "new.json", bad)[0] == 2
    assert "new" not in sigrl("vocab", "list", "--json")[1]


@pytest.mark.parametrize(
    "arguments", [[], ["--all"], ["pets", "--all"], ["--all", "--version", "1", "-o", "a"]]
)
def test_export_requires_a_name_or_all(sigrl, arguments: list[str]) -> None:
    status, _, err = sigrl("vocab", "export", *arguments)
    assert status == 2
    assert "--all" in err
