"""`sigrl-train distill`: a compact student of a large model."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sigrl.model.bundle_files import write_files
from sigrl.training.bundles.calibrate import calibrate
from sigrl.training.bundles.finishing import finish, unfinished, with_graphs_if_possible
from sigrl.training.commands.common import console, refuse_several_processes
from sigrl.training.tasks.bundled.recipe import check_new
from sigrl.training.tasks.distillation.plan import plan
from sigrl.training.tasks.distillation.run import FEATURES, Distillation, background, make_student


def distill_command(
    teacher: Annotated[Path, typer.Argument(help="Bundle to learn from")],
    folder: Annotated[Path, typer.Argument(help="Folder of your photographs, thousands; no labels needed")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the run")],
    pixels: Annotated[int, typer.Option(min=64, max=512, help="Side of the student's input")] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the photographs")] = 4,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what it would take")] = False,
) -> None:
    """Train a small, fast image tower to answer as a large model does, for any word. Run the same command
    again to resume an interrupted run."""
    refuse_several_processes("`distill`")
    asked = Distillation(teacher, folder, pixels, epochs, seed)
    if dry_run:
        for sentence in plan(asked, output):
            console.print(sentence, highlight=False, soft_wrap=True, markup=False)
        return
    bundle = output / "bundle"
    check_new(bundle)
    with unfinished(bundle) as made:
        write_files(made, make_student(asked, output))
        source = f"{folder.name}, held out"
        additions = [lambda path: calibrate(path, background(asked), source).files, with_graphs_if_possible]
        checkpoint = finish(made, additions, bundle)
    shutil.rmtree(output / FEATURES)
    console.print(f"wrote {bundle} ({checkpoint})")
    console.print(f"serve it: SIGRL_CHECKPOINT={bundle} sigrl serve", highlight=False, soft_wrap=True)
