"""The command `sigrl`. Nothing heavy is imported before it is needed: the help answers at once."""

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service import version
from service.commands import checkpoint, doctor, feedback, key, vocab
from service.errors import ImageError, ParameterError, TaggerError
from service.rendering import Renderer, complain, printable

if TYPE_CHECKING:
    from model.vocabulary import Vocabulary
    from service.settings import Settings

SOME_FAILED, BAD_USAGE = 1, 2

# What a folder is searched for; single files are judged by their content alone.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"}
)

app = typer.Typer(
    help="Tags photographs with labels in your own words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(feedback.app, name="feedback")
app.add_typer(key.app, name="key")
app.add_typer(vocab.app, name="vocab")
app.command()(doctor.doctor)

CheckpointOption = Annotated[
    Path | None, typer.Option(help="Directory of a checkpoint bundle; the bundled one if not given.")
]


def main() -> None:
    """Entry point: errors with a reason a user can act on are told in one line, without a traceback."""
    warnings.filterwarnings("ignore", module="PIL")
    try:
        app()
    except TaggerError as error:
        complain("sigrl", error)
        sys.exit(BAD_USAGE)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sigrl-tagger {version()}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tags photographs with labels in your own words."""


@app.command()
def tag(
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
) -> None:
    """Tags photographs.

    With nothing but photographs: what reaches its threshold among some 300 everyday things, at most ten.
    With --labels or --vocabulary: all of these that reach their threshold. --threshold sets another one,
    --top-k shows that many in any case, both together show at most so many that reach it. Of several
    vocabularies this holds for each.

    Exit status: 0 all tagged, 1 some photographs could not be tagged, 2 wrong usage and nothing was tagged.
    """
    paths = find_photographs(photographs)
    from service.settings import load_settings

    settings = load_settings(checkpoint=checkpoint)
    wanted = _wanted_labels(labels, vocabulary or [], settings)

    from service.selection import Selection
    from service.tagger import Tagger

    selection = Selection(top_k, threshold, false_positive_rate, brief=not wanted)

    failed = False
    with Renderer(as_json) as renderer:
        with renderer.phase("loading the model"):
            tagger = Tagger.from_settings(settings)
        for each in wanted or (tagger.vocabulary,):
            with renderer.phase("encoding labels", len(each.labels)) as encoded:
                tagger.prepare(each, encoded)
        with renderer.phase("tagging", len(paths)) as tagged:
            results = tagger.tag_by_each(paths, wanted, selection)
            for number, (path, result) in enumerate(zip(paths, results, strict=True), 1):
                renderer.show(path, result)
                failed = failed or isinstance(result, ImageError)
                tagged(number)
    if failed:
        raise typer.Exit(SOME_FAILED)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 if not given.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 8000 if not given.")] = None,
    checkpoint: CheckpointOption = None,
) -> None:
    """Serves tagging over HTTP; the documentation is at /docs. Settings are environment variables SIGRL_*."""
    from service import logs
    from service.app import create_app
    from service.checkpoints.opening import open_runtime
    from service.keys.guard import needs_keys
    from service.keys.store import KeyStore
    from service.server import Server
    from service.settings import load_settings
    from service.vocabularies.registry import VocabularyRegistry

    settings = load_settings(host=host, port=port, checkpoint=checkpoint)
    logs.configure(settings)
    # Here and not in the application's start, where a bad checkpoint would end in a traceback.
    registry = VocabularyRegistry.open(settings)
    if needs_keys(settings) and not KeyStore(registry.database).all():
        print("requests need an API key, and there is none yet: sigrl key create NAME", file=sys.stderr)
    runtime = open_runtime(settings, registry)
    Server(create_app(settings, registry=registry, runtime=runtime), settings).run()


def find_photographs(arguments: list[Path]) -> list[Path]:
    """Files as they are given; of folders all files below that are named like photographs, sorted, without
    hidden ones. Raises ParameterError for what does not exist or holds none."""
    found: list[Path] = []
    for argument in arguments:
        # os.path and not Path: it says no to names too long or forbidden, where Path raises.
        if not os.path.exists(argument):
            raise ParameterError(f"there is no file '{printable(argument)}'", "check the path")
        inside = _photographs_below(argument) if argument.is_dir() else [argument]
        if not inside:
            hint = f"looked for {' '.join(sorted(SUFFIXES))}"
            raise ParameterError(f"there is no photograph in the folder '{printable(argument)}'", hint)
        found += inside
    return found


def _photographs_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        # Left out in silence, its photographs would be taken for tagged.
        detail = f"the folder '{printable(Path(error.filename))}' cannot be read: {error.strerror}"
        raise ParameterError(detail, "check its permissions") from error

    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def _wanted_labels(
    labels: list[str] | None, names: list[str], settings: "Settings"
) -> "tuple[Vocabulary, ...]":
    from service.vocabularies import find, parse_labels

    if labels is not None and names:
        raise ParameterError("both --labels and --vocabulary are given", "give one of them")
    if labels is not None:
        return (parse_labels(labels),)
    return tuple(find(name, settings) for name in names)
