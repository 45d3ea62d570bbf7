"""`sigrl immich`: tags the photographs of an Immich library."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.server import OptionalServerOption
from sigrl.service.commands.tag import SOME_FAILED, in_words
from sigrl.service.commands.tag_source import Asked, open_source
from sigrl.service.errors import ParameterError
from sigrl.service.terminal import Renderer

if TYPE_CHECKING:
    from sigrl.service.immich.job import Outcome

_SHOWN = 10


def immich_command(
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of Immich: http://192.168.1.5:2283.")],
    key_file: Annotated[
        Path | None, typer.Option(help="File with Immich's API key, in place of IMMICH_API_KEY.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Change the tags in Immich. Without it, nothing is changed.")
    ] = False,
    vocabulary: Annotated[
        str | None, typer.Option(help="What to look for: a name from `sigrl vocab list`, or a file.")
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(help="Of the photographs that get a label, the share that should show it."),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the tags, such as `de`, if the vocabulary has it.")
    ] = None,
    server: OptionalServerOption = None,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Where the tags are listed, with the progress beside it."),
    ] = Path("immich.csv"),
) -> None:
    """Tags the photographs of an Immich library.

    Without --apply, the photographs are tagged, the tags are listed in FILE, and the changes that they would
    make are counted; with --apply, the same tags go into Immich and no photograph is tagged again. The tags
    are below one tag, SigRL, and no others are ever removed. The command may be stopped at any time; run it
    again to continue, and from time to time for new photographs.

    Exit status: 0 if all photographs were tagged, 1 if some could not be, 2 if nothing could be done.
    """
    from sigrl.service.immich.job import tag_library
    from sigrl.service.immich.library import READING, WRITING, Library
    from sigrl.service.tagging.selection import Selection

    names = [] if vocabulary is None else [vocabulary]
    languages = () if language is None else (language,)
    selection = Selection(precision=precision, brief=not names, languages=languages)
    asked = Asked(None, names, selection, language, checkpoint=None)
    with (
        Library(url, _read_key(key_file)) as library,
        Renderer(as_json=False) as renderer,
    ):
        # Before the model is loaded, which takes time.
        user = library.user(READING + WRITING if apply else READING)
        with open_source(renderer, asked, server) as source:
            outcome = tag_library(library, user, source, out, in_words(selection), apply, renderer)
    _tell(outcome, out, applied=apply)
    if outcome.summary.failed or outcome.refused:
        raise typer.Exit(SOME_FAILED)


def _read_key(file: Path | None) -> str:
    key = os.environ.get("IMMICH_API_KEY", "")
    if file is not None:
        try:
            key = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(f"the key file '{file}' cannot be read: {error}", "check it") from error
    if not key.strip():
        raise ParameterError(
            "no API key of Immich is given",
            "make one in Immich, under Account Settings > API Keys; give it in IMMICH_API_KEY or --key-file",
        )
    return key.strip()


def _tell(outcome: "Outcome", out: Path, *, applied: bool) -> None:
    summary = outcome.summary
    failed = f", {summary.failed:,} failed: see {summary.failures}" if summary.failed else ""
    print(f"{out}: {summary.tagged:,} photographs{failed}")
    added, removed = outcome.changes.count()
    did = "were" if applied else "would be"
    print(f"{added:,} tags {did} added and {removed:,} removed in Immich")
    for path, photographs in outcome.changes.most_added(_SHOWN):
        print(f"  {photographs:6,}  {path}")
    if outcome.refused:
        hint = "they may have been deleted meanwhile; run the command again"
        print(f"Immich refused to change {outcome.refused:,} photographs; {hint}", file=sys.stderr)
    if not applied and (added or removed):
        print(
            "nothing was changed; run the command with --apply to change it, which tags no photograph again"
        )
