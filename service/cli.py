"""The command `sigrl`. Heavy modules are imported only when needed, so that `--help` answers at once."""

import logging
import sys
import time
import warnings
from typing import Annotated

import typer

from sigrl import version
from sigrl.model.processors import bound_native_threads, keep_blas_from_spinning
from sigrl.service.commands import checkpoint, doctor, feedback, key, vocab
from sigrl.service.commands.assistants import mcp_command
from sigrl.service.commands.immich import immich_command
from sigrl.service.commands.tag import CheckpointOption, tag_command
from sigrl.service.ending import end_at_signals, end_process, threads_at_work
from sigrl.service.errors import TaggerError
from sigrl.service.terminal import complain

BAD_USAGE = 2

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
app.command("tag")(tag_command)
app.command("mcp")(mcp_command)
app.command("immich")(immich_command)


def main() -> None:
    """Entry point. Errors that a user can act on are reported in one line, without a traceback."""
    warnings.filterwarnings("ignore", module="PIL")
    bound_native_threads()
    keep_blas_from_spinning()
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
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 if not given.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 8000 if not given.")] = None,
    checkpoint: CheckpointOption = None,
) -> None:
    """Serves tagging over HTTP; the documentation is at /docs. Settings are environment variables SIGRL_*."""
    began = time.monotonic()
    # Installed before the imports, which take seconds.
    end_at_signals()

    from sigrl.service.observability import logs
    from sigrl.service.settings import load_settings

    settings = load_settings(host=host, port=port, checkpoint=checkpoint)
    logs.configure(settings)
    logger = logging.getLogger("sigrl")
    logger.info("sigrl-tagger %s starts; it will listen once its model has answered", version())

    from sigrl.service.app import create_app
    from sigrl.service.checkpoints.opening import open_runtime
    from sigrl.service.http.guard import needs_keys
    from sigrl.service.http.server import Server
    from sigrl.service.keys.store import KeyStore
    from sigrl.service.vocabularies.registry import VocabularyRegistry

    logger.info("opening the database")
    # Opened here rather than at application startup, where a bad checkpoint would end in a traceback.
    registry = VocabularyRegistry.open(settings)
    if needs_keys(settings) and not KeyStore(registry.database).all():
        print("requests need an API key, and there is none yet: sigrl key create NAME", file=sys.stderr)
    logger.info("loading and verifying the checkpoint")
    runtime = open_runtime(settings, registry)
    server = Server(create_app(settings, registry=registry, runtime=runtime), settings, began)
    server.run()
    if server.started:
        # A thread still running C++ code would abort the process while the interpreter shuts down.
        end_process(f"it was told to stop; {threads_at_work()}")
