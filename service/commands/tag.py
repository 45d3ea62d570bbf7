"""`sigrl tag`."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.pictures import check_pictures, draw_sheet, explain_photograph
from sigrl.service.errors import ImageError, ParameterError
from sigrl.service.images.folders import find_photographs
from sigrl.service.terminal import Renderer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sigrl.model.vocabulary import Vocabulary
    from sigrl.service.bulk.tag_sources import ExplainingSource, TagSource
    from sigrl.service.settings import Settings
    from sigrl.service.tagging.selection import Selection

SOME_FAILED = 1


class Sidecar(StrEnum):
    """What can be written beside a photograph."""

    XMP = "xmp"
    JSON = "json"


CheckpointOption = Annotated[
    Path | None, typer.Option(help="Directory of a checkpoint bundle; the bundled one if not given.")
]


def tag_command(
    photographs: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO...", help="Photographs, or folders that are searched for them."),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option(help='What to look for: "dog,bicycle", or a JSON list if a label holds a comma.'),
    ] = None,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(
            help="In place of --labels a vocabulary: a name that `sigrl vocab list` shows, or a file; "
            "repeated for several, in one pass of the model."
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="How many tags. Without --threshold: that many in any case.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Probability that a tag must reach.")
    ] = None,
    false_positive_rate: Annotated[
        float | None,
        typer.Option(help="In place of --threshold: the share of photographs that may get a label wrongly."),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            help="In place of --threshold: of photographs that get a label, the share that shall show it."
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(
            help="In place of --threshold: of photographs that show a label, the share that shall get it."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line for every photograph.")
    ] = False,
    checkpoint: CheckpointOption = None,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="SIGRL_SERVER", metavar="URL", help="A server that tags them, in place of a model here."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the tags to FILE, .parquet, .csv or .jsonl, and show none."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="CLUSTER",
            help="With --out: by the machines of a Ray cluster, `auto` or its address; `local` for a process "
            "on each core here.",
        ),
    ] = None,
    sidecar: Annotated[
        Sidecar | None,
        typer.Option(help="With --out: also a file beside each photograph, PHOTO.xmp or PHOTO.json."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of one photograph: draw where its tags are seen, as PNG or JPEG."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw photographs over their tags, 30 on a page, and list none."),
    ] = None,
) -> None:
    """Tags photographs.

    With nothing but photographs: what is surely there, of the everyday words, at most ten; where nothing is,
    three guesses. With --labels or --vocabulary: all of these that reach their threshold. --threshold sets
    another one; --precision, --recall or --false-positive-rate compute it. --top-k shows that many labels
    whether they reach it or not, and together with one of these at most that many which do. With several
    vocabularies this applies to each.

    --out writes the tags of folders of any size into a file. It may be stopped at any moment, and the same
    command goes on where it was. Photographs that cannot be tagged are listed in a file beside it.

    --explain draws the photograph beside a map of each tag, of six at most if --top-k does not say more.
    --sheet draws a contact sheet; its further pages are FILE-2, FILE-3 and so on.

    Exit status: 0 all tagged, 1 some photographs could not be tagged, 2 wrong usage and nothing was tagged.
    """
    if labels is not None and vocabulary:
        raise ParameterError("both --labels and --vocabulary are given", "give one of them")
    names = vocabulary or []
    thresholds = (threshold, false_positive_rate, precision, recall)
    sets_thresholds = any(each is not None for each in thresholds)
    check_pictures(
        explain, sheet, photographs, names, out=out, as_json=as_json, sets_thresholds=sets_thresholds
    )
    _check_bulk(out, sidecar, names, as_json)
    _check_ray(ray, out, server)

    from sigrl.service.tagging.selection import Selection

    selection = Selection(top_k, *thresholds, brief=labels is None and not names)
    if picture := explain or sheet:
        with Renderer(as_json) as renderer:
            seeing = _opened(renderer, server, checkpoint, labels, names, selection)
            draw = explain_photograph if explain is not None else draw_sheet
            failed = draw(renderer, seeing, photographs, picture, top_k)
        raise typer.Exit(SOME_FAILED if failed else 0)
    opened: AbstractContextManager[TagSource]
    with Renderer(as_json) as renderer:
        if ray is not None:
            opened = _on_ray(renderer, ray, checkpoint, labels, names, selection)
        else:
            opened = _opened(renderer, server, checkpoint, labels, names, selection)
        if out is None:
            failed = _show(renderer, opened, list(find_photographs(photographs)))
        else:
            from sigrl.service.bulk.job import tag_in_bulk

            with opened as source:
                summary = tag_in_bulk(
                    source, find_photographs(photographs), out, _in_words(selection), sidecar, renderer
                )
            failed = summary.failed > 0
    if out is not None:
        note = f", {summary.failed:,} failed: see {summary.failures}" if failed else ""
        print(f"{out}: {summary.tagged:,} photograph{'' if summary.tagged == 1 else 's'}{note}")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _show(renderer: Renderer, opened: "AbstractContextManager[TagSource]", paths: list[Path]) -> bool:
    """Whether some could not be tagged."""
    failed = False
    with opened as source, renderer.phase("tagging", len(paths)) as tagged:
        for number, (path, result) in enumerate(source.tag(paths), 1):
            renderer.show(path, result)
            failed = failed or isinstance(result, ImageError)
            tagged(number)
    return failed


def _check_bulk(out: Path | None, sidecar: Sidecar | None, names: list[str], as_json: bool) -> None:
    if out is None:
        if sidecar is not None:
            raise ParameterError(
                "--sidecar goes with --out", "add --out tags.csv, which also notes what is done"
            )
        return
    from sigrl.service.bulk.writing import writer

    writer(out)
    if len(names) > 1 or as_json:
        raise ParameterError("--out goes with one vocabulary and without --json", "use --out tags.jsonl")


def _check_ray(cluster: str | None, out: Path | None, server: str | None) -> None:
    if cluster is None:
        return
    if out is None or server is not None:
        raise ParameterError("--ray goes with --out and without --server", "add --out tags.parquet")
    if find_spec("ray") is None:
        raise ParameterError("Ray is not installed", "pip install 'sigrl-tagger[ray]' on every machine")


def _in_words(selection: "Selection") -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(selection).items())


def _opened(
    renderer: Renderer,
    server: str | None,
    checkpoint: Path | None,
    labels: list[str] | None,
    names: list[str],
    selection: "Selection",
) -> "AbstractContextManager[ExplainingSource]":
    if server is None:
        return _local(renderer, checkpoint, labels, names, selection)
    return _remote(server, checkpoint, labels, names, selection)


@contextmanager
def _local(
    renderer: Renderer,
    checkpoint: Path | None,
    labels: list[str] | None,
    names: list[str],
    selection: "Selection",
) -> "Iterator[ExplainingSource]":
    settings, wanted = _settings_and_labels(checkpoint, labels, names)

    from sigrl.service.bulk.tag_sources import LocalSource
    from sigrl.service.tagging.tagger import Tagger

    with renderer.phase("loading the model"):
        tagger = Tagger.from_settings(settings)
    for each in wanted or (tagger.vocabulary,):
        with renderer.phase("encoding labels", len(each.labels)) as encoded:
            tagger.prepare(each, encoded)
    yield LocalSource(tagger, wanted, selection)


@contextmanager
def _on_ray(
    renderer: Renderer,
    cluster: str,
    checkpoint: Path | None,
    labels: list[str] | None,
    names: list[str],
    selection: "Selection",
) -> "Iterator[TagSource]":
    settings, wanted = _settings_and_labels(checkpoint, labels, names)

    from sigrl.service.bulk.on_ray import RaySource

    with renderer.phase(f"joining the cluster {cluster}"):
        source = RaySource(cluster, settings, wanted, selection)
    with closing(source):
        yield source


@contextmanager
def _remote(
    server: str,
    checkpoint: Path | None,
    labels: list[str] | None,
    names: list[str],
    selection: "Selection",
) -> "Iterator[ExplainingSource]":
    from sigrl.service.bulk.tag_sources import RemoteSource
    from sigrl.service.client import Client
    from sigrl.service.vocabularies.builtin import parse_labels

    if checkpoint is not None:
        raise ParameterError(
            "both --server and --checkpoint are given", "see `sigrl checkpoint --help` for a server's"
        )
    with Client(server) as client:
        yield RemoteSource(client, None if labels is None else parse_labels(labels), names, selection)


def _settings_and_labels(
    checkpoint: Path | None, labels: list[str] | None, names: list[str]
) -> "tuple[Settings, tuple[Vocabulary, ...]]":
    from sigrl.service.settings import load_settings
    from sigrl.service.vocabularies.builtin import find, parse_labels

    settings = load_settings(checkpoint=checkpoint)
    if labels is not None:
        return settings, (parse_labels(labels),)
    return settings, tuple(find(name, settings) for name in names)
