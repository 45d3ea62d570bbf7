"""`sigrl vocab`: manages the registered vocabularies directly in the database."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.calibrate import calibrate_command
from sigrl.service.commands.suggest import suggest_command
from sigrl.service.errors import InvalidLabelsError, ParameterError

if TYPE_CHECKING:
    from sigrl.model.vocabulary import Vocabulary
    from sigrl.service.vocabularies.queries import Entry
    from sigrl.service.vocabularies.registry import VocabularyRegistry

app = typer.Typer(
    help="Vocabularies for `--vocabulary NAME`, SIGRL_VOCABULARY and POST /v1/tag.",
    no_args_is_help=True,
)

app.command("calibrate")(calibrate_command)
app.command("suggest")(suggest_command)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name; see `sigrl vocab list`.")]
VersionOption = Annotated[
    int | None, typer.Option(min=1, max=2**31 - 1, help="Version; by default the newest.")
]


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Lists all vocabularies: first the built-in ones, then the registered ones by name."""
    with _registry() as registry:
        entries = list(_all_entries(registry))
    if as_json:
        for entry in entries:
            print(json.dumps(entry.summary().model_dump(), default=datetime.isoformat))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "version", "labels", "registered", box=None, pad_edge=False, header_style="bold")
    for entry in entries:
        created = "ships with sigrl" if entry.created is None else f"{entry.created:%Y-%m-%d %H:%M} UTC"
        table.add_row(entry.name, str(entry.version or ""), f"{entry.size:,}", created)
    Console(highlight=False).print(table)


@app.command("show")
def show_command(name: NameArgument, version: VersionOption = None) -> None:
    """Shows the labels of a vocabulary as a tree, with synonyms in brackets."""
    with _registry() as registry:
        vocabulary = registry.get(name, version)
    for line in _tree(vocabulary):
        print(line)


@app.command("import")
def import_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="JSON, a table (.csv, .tsv), an Open Images class file, or text with one label per line.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the vocabulary; by default made from the file's name.")
    ] = None,
) -> None:
    """Registers vocabularies from files. A known name gets a new version; older versions are kept."""
    if name is not None and len(paths) > 1:
        raise ParameterError("--name is given with several files", "leave out --name, or give one file")
    # All files are read before any is registered, so that a bad one registers nothing.
    vocabularies = [_load(path) for path in paths]
    with _registry() as registry:
        for path, vocabulary in zip(paths, vocabularies, strict=True):
            called = name or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:64]
            before = _newest_version(registry, called)
            entry, _ = registry.put(called, vocabulary)
            what = "unchanged, " if entry.version == before else ""
            labels = f"{entry.size:,} label{'s' if entry.size > 1 else ''}"
            print(f"{entry.name} version {entry.version}: {what}{labels}")


@app.command("export")
def export_command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name; see `sigrl vocab list`.")
    ] = None,
    version: VersionOption = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Export every registered vocabulary as NAME.json to the folder --output."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; by default the standard output.")
    ] = None,
) -> None:
    """Writes one or all vocabularies as JSON, for `sigrl vocab import` and PUT /v1/vocabularies."""
    if everything != (name is None) or (everything and (output is None or version is not None)):
        raise ParameterError(
            "the options do not say what to export",
            "give NAME, or --all with a folder: --all -o vocabularies",
        )
    try:
        with _registry() as registry:
            if name is not None:
                text = _document(registry.get(name, version))
                if output is None:
                    print(text, end="")
                else:
                    output.write_text(text, encoding="utf-8")
            elif output is not None:
                output.mkdir(parents=True, exist_ok=True)
                own = [entry.name for entry in _all_entries(registry) if entry.version is not None]
                for each in own:
                    text = _document(registry.get(each))
                    (output / f"{each}.json").write_text(text, encoding="utf-8")
                print(f"{output}: {len(own):,} vocabular{'y' if len(own) == 1 else 'ies'}")
    except OSError as error:
        raise ParameterError(f"cannot write {output}: {error.strerror}", "give another path") from error


@app.command("delete")
def delete_command(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Deletes a vocabulary and all its versions."""
    with _registry() as registry:
        entry = registry.entry(name)
        if not yes and entry.version is not None:
            typer.confirm(f"Delete {name} and all its versions?", abort=True)
        registry.delete(name)
    print(f"{name} is deleted")


def _load(path: Path) -> "Vocabulary":
    from sigrl.model.vocabulary import Vocabulary, VocabularyError

    try:
        return Vocabulary.load(path)
    except VocabularyError as error:
        raise InvalidLabelsError(str(error), "see `sigrl vocab import --help` for the formats") from error


@contextmanager
def _registry() -> Iterator["VocabularyRegistry"]:
    from sigrl.service.settings import load_settings
    from sigrl.service.vocabularies.registry import VocabularyRegistry

    registry = VocabularyRegistry.open(load_settings())
    try:
        yield registry
    finally:
        registry.close()


def _all_entries(registry: "VocabularyRegistry") -> Iterator["Entry"]:
    after = ""
    while page := registry.entries(after):
        yield from page
        after = page[-1].name


def _newest_version(registry: "VocabularyRegistry", name: str) -> int | None:
    from sigrl.service.errors import VocabularyNotFoundError

    try:
        return registry.entry(name).version
    except VocabularyNotFoundError:
        return None


def _document(vocabulary: "Vocabulary") -> str:
    """JSON with one label per line, which is easy to edit and to compare."""
    labels = []
    for label in vocabulary.labels:
        content = label.model_dump(mode="json", exclude_defaults=True)
        labels.append(json.dumps(content["name"] if len(content) == 1 else content, ensure_ascii=False))
    listed = ",\n    ".join(labels)
    said = "".join(f'  "{name}": {value},\n' for name, value in vocabulary.settings.items())
    return f'{{\n  "name": {json.dumps(vocabulary.name)},\n{said}  "labels": [\n    {listed}\n  ]\n}}\n'


def _tree(vocabulary: "Vocabulary") -> Iterator[str]:
    below: dict[str | None, list[int]] = {}
    for row, label in enumerate(vocabulary.labels):
        below.setdefault(None if label.parent is None else label.parent.casefold(), []).append(row)
    waiting = [(row, 0) for row in reversed(below.get(None, []))]
    while waiting:
        row, depth = waiting.pop()
        label = vocabulary.labels[row]
        yield "  " * depth + label.name + (f" ({', '.join(label.synonyms)})" if label.synonyms else "")
        waiting += [(child, depth + 1) for child in reversed(below.get(label.name.casefold(), []))]
