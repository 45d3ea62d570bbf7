"""`sigrl-train`: train a checkpoint on photographs, or import weights that others trained."""

import sys

import typer
from pydantic import ValidationError
from rich.console import Console

from sigrl.model.bundle_files import BundleError
from sigrl.model.processors import bound_native_threads
from sigrl.model.vocabulary import VocabularyError
from sigrl.training.commands import bundles, distill, runs, towers
from sigrl.training.data.dataset import DataError

USER_ERRORS = (BundleError, DataError, ValidationError, VocabularyError, OSError)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.command("init")(runs.init_command)
app.command("check")(runs.check_command)
app.command("fit")(runs.fit_command)
app.command("report")(runs.report_command)
app.command("evaluate")(runs.evaluate_command)
app.command("export")(bundles.export_command)
app.command("calibrate")(bundles.calibrate_command)
app.command("import")(bundles.import_command)
app.command("head")(bundles.head_command)
app.command("distill")(distill.distill_command)
app.command("pretrain")(towers.pretrain_command)
app.command("ablate")(towers.ablate_command)


def main() -> None:
    """Entry point: an error that the user can fix becomes one line on stderr and exit status 2."""
    bound_native_threads()
    try:
        app()
    except USER_ERRORS as error:
        Console(stderr=True).print(
            f"sigrl-train: {_one_line(error)}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(2)


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False)
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
    # An error raised in a loader's process carries that process's traceback; its last line is the message.
    return str(error).strip().splitlines()[-1].removeprefix(f"{DataError.__module__}.DataError: ")
