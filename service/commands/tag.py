"""`sigrl tag`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import ImageError, ParameterError
from service.finding import find_photographs
from service.rendering import Renderer

if TYPE_CHECKING:
    from model.vocabulary import Vocabulary
    from service.selection import Selection
    from service.settings import Settings
    from service.tag_sources import TagSource

SOME_FAILED = 1

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
) -> None:
    """Tags photographs.

    With nothing but photographs: what reaches its threshold among some 300 everyday things, at most ten.
    With --labels or --vocabulary: all of these that reach their threshold. --threshold sets another one,
    --top-k shows that many in any case, both together show at most so many that reach it. Of several
    vocabularies this holds for each.

    Exit status: 0 all tagged, 1 some photographs could not be tagged, 2 wrong usage and nothing was tagged.
    """
    paths = list(find_photographs(photographs))
    if labels is not None and vocabulary:
        raise ParameterError("both --labels and --vocabulary are given", "give one of them")
    names = vocabulary or []

    from service.selection import Selection

    selection = Selection(top_k, threshold, false_positive_rate, brief=labels is None and not names)
    failed = False
    with Renderer(as_json) as renderer:
        if server is None:
            opened = _local(renderer, checkpoint, labels, names, selection)
        else:
            opened = _remote(server, checkpoint, labels, names, selection)
        with opened as source, renderer.phase("tagging", len(paths)) as tagged:
            for number, (path, result) in enumerate(source.tag(paths), 1):
                renderer.show(path, result)
                failed = failed or isinstance(result, ImageError)
                tagged(number)
    if failed:
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _local(
    renderer: Renderer,
    checkpoint: Path | None,
    labels: list[str] | None,
    names: list[str],
    selection: "Selection",
) -> "Iterator[TagSource]":
    from service.settings import load_settings

    settings = load_settings(checkpoint=checkpoint)
    wanted = _wanted_labels(labels, names, settings)

    from service.tag_sources import LocalSource
    from service.tagger import Tagger

    with renderer.phase("loading the model"):
        tagger = Tagger.from_settings(settings)
    for each in wanted or (tagger.vocabulary,):
        with renderer.phase("encoding labels", len(each.labels)) as encoded:
            tagger.prepare(each, encoded)
    yield LocalSource(tagger, wanted, selection)


@contextmanager
def _remote(
    server: str,
    checkpoint: Path | None,
    labels: list[str] | None,
    names: list[str],
    selection: "Selection",
) -> "Iterator[TagSource]":
    from service.client import Client
    from service.tag_sources import RemoteSource
    from service.vocabularies import parse_labels

    if checkpoint is not None:
        raise ParameterError(
            "both --server and --checkpoint are given", "see `sigrl checkpoint --help` for a server's"
        )
    with Client(server) as client:
        yield RemoteSource(client, None if labels is None else parse_labels(labels), names, selection)


def _wanted_labels(
    labels: list[str] | None, names: list[str], settings: "Settings"
) -> "tuple[Vocabulary, ...]":
    from service.vocabularies import find, parse_labels

    if labels is not None:
        return (parse_labels(labels),)
    return tuple(find(name, settings) for name in names)
