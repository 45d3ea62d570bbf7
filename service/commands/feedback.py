"""`sigrl feedback`: exports users' feedback on tags, directly from the database."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sigrl.service.errors import ParameterError

app = typer.Typer(help="The feedback that users sent to POST /v1/feedback.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """The feedback that users sent to POST /v1/feedback."""


@app.command("export")
def export_command(
    folder: Annotated[Path, typer.Argument(help="Folder to create.", metavar="FOLDER")],
) -> None:
    """Writes all feedback as a training set for `sigrl-train init photographs FOLDER/labels.jsonl`."""
    from sigrl.service.database.database import Database
    from sigrl.service.feedback.exporting import training_set
    from sigrl.service.feedback.store import FeedbackStore
    from sigrl.service.settings import load_settings
    from sigrl.service.terminal import Renderer

    if folder.exists():
        raise ParameterError(f"{folder} already exists", "give a folder that does not exist yet")
    # An interrupted export must not look like a complete one.
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    database = Database.open(load_settings())
    try:
        store = FeedbackStore(database)
        photographs = store.counts().photographs
        with Renderer(as_json=False) as renderer, renderer.phase("exporting", photographs) as done:
            for number, (path, content) in enumerate(training_set(store), 1):
                target = unfinished / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                done(min(number, photographs))
        unfinished.rename(folder)
    except OSError as error:
        raise ParameterError(f"cannot write to {folder}: {error.strerror}", "give another folder") from error
    finally:
        database.close()
    print(f"{folder}: {photographs:,} photograph{'' if photographs == 1 else 's'}")
