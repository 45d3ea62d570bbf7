"""`sigrl-train`: pretrain, fit, evaluate, ablate, export, import."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_core import to_json
from rich.console import Console

from model.backbone import Backbone
from model.bundle import Bundle, TaggingModel, load_bundle, save_bundle
from model.bundle_files import BundleError, make_files, read_files, write_files
from model.heads import MatchingHead
from model.manifest import Description
from model.torch_engine import TorchEngine
from model.vocabulary import VocabularyError
from training.config import TrainingConfig, load_config
from training.data.coco import DataError, load_coco
from training.data.supervision import unrelated_names
from training.features import progress_bar
from training.initialisation import minilm_tokenizer
from training.open_clip_source import fetch, find_source
from training.provenance import provenance
from training.rendering import ablation_table, report_table
from training.tasks.ablate import ablate
from training.tasks.evaluate import evaluate
from training.tasks.fit import choose_threshold, fit_head, prepare
from training.tasks.import_weights import (
    PUBLISHED_CLIP,
    PublishedKind,
    ZeroShotHead,
    import_open_clip,
    import_published,
    read_published,
)
from training.tasks.pretrain import pretrain

USER_ERRORS = (BundleError, DataError, ValidationError, VocabularyError, OSError)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console()

Config = Annotated[
    Path, typer.Option("--config", help="YAML file, for instance training/configs/bundled.yaml")
]
Cache = Annotated[Path, typer.Option(help="Folder for the outputs of frozen modules (several GB)")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Directory of the new bundle")]
Towers = Annotated[Path, typer.Argument(help="Bundle that `pretrain` wrote")]


@app.command("pretrain")
def pretrain_command(config: Config, output: Output, cache: Cache = Path("cache")) -> None:
    """Train the towers, from ImageNet weights and a sentence encoder; write a bundle with the `mkt` head."""
    settings = load_config(config)
    _check_new(output)
    backbone, head = pretrain(settings, cache)
    _save(output, settings, backbone, head, minilm_tokenizer(), 0.5, ["sigrl-train pretrain"])


@app.command("fit")
def fit_command(
    towers: Towers,
    config: Config,
    output: Output,
    cache: Cache = Path("cache"),
    seed: Annotated[int | None, typer.Option(help="In place of the configuration's")] = None,
) -> None:
    """Train a head on the towers of a bundle; write a bundle that can serve."""
    settings = load_config(config)
    if seed is not None:
        settings = settings.model_copy(update={"fit": settings.fit.model_copy(update={"seed": seed})})
    _check_new(output)
    bundle = _load_towers(towers, settings)
    prepared = prepare(settings, bundle.model.backbone, cache)
    head = fit_head(settings.fit, bundle.model.head, prepared)
    threshold = choose_threshold(head, prepared)
    console.print(f"default threshold {threshold:.2f}, chosen on held-out photographs of the training split")
    commands = [*bundle.manifest.provenance.get("commands", []), "sigrl-train fit"]
    _save(output, settings, bundle.model.backbone, head, bundle.tokenizer, threshold, commands)


@app.command("evaluate")
def evaluate_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle to measure")],
    config: Config,
    report: Annotated[Path | None, typer.Option(help="JSON file for the numbers")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Directory for the same bundle with the numbers in its manifest")
    ] = None,
) -> None:
    """Measure a bundle on the test split, through the engine that serves it."""
    settings = load_config(config)
    if record is not None:
        _check_new(record)
    split = load_coco(settings.data.root, settings.data.test_split)
    distractors = unrelated_names(settings.data, split.label_names)
    # In float32, so that the numbers are the same on every machine.
    engine = TorchEngine.load(bundle, precision="float32")
    measured = evaluate(engine, split, settings.data.hidden_labels, distractors)
    console.print(report_table(measured))
    _write_report(report, measured)
    if record is not None:
        source = read_files(bundle)
        provenance = source.manifest.provenance | {"metrics": measured.model_dump(mode="json")}
        description = source.manifest.model_copy(update={"provenance": provenance})
        saved = make_files(description, source.contents)
        write_files(record, saved)
        console.print(f"wrote {record} ({saved.checkpoint_id})")


@app.command("ablate")
def ablate_command(
    towers: Towers,
    config: Config,
    cache: Cache = Path("cache"),
    seeds: Annotated[str, typer.Option(help="Comma-separated")] = "0,1,2",
    report: Annotated[Path | None, typer.Option(help="JSON file for the numbers")] = None,
) -> None:
    """Fit every head, and the sigrl head without its parts, on the same towers; print one table."""
    settings = load_config(config)
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise DataError(f"--seeds {seeds!r}: write whole numbers with commas between them") from error
    rows = ablate(settings, _load_towers(towers, settings), numbers, cache)
    console.print(ablation_table(rows))
    _write_report(report, rows)


@app.command("export")
def export_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle to export")],
    output: Output,
    onnx: Annotated[bool, typer.Option("--onnx", help="Graphs for ONNX Runtime, in float32")] = False,
) -> None:
    """Write a bundle that holds everything of another one, and what a runtime without PyTorch needs."""
    if not onnx:
        raise DataError("name what to export: add --onnx")
    _check_new(output)
    try:
        from training.tasks.export import export
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed: pip install 'sigrl-tagger[export,onnx]', or with gpu for onnx"
        ) from error
    with progress_bar() as progress:
        task = progress.add_task("export", note="")
        files = export(
            bundle, lambda note, done, total: progress.update(task, completed=done, total=total, note=note)
        )
    write_files(output, files)
    difference = files.manifest.provenance["export"]["largest_relative_difference"]
    console.print(f"wrote {output} ({files.checkpoint_id}), at most {difference:.0e} from PyTorch's numbers")


@app.command("import")
def import_command(
    output: Output,
    open_clip: Annotated[
        str | None,
        typer.Option(metavar="ARCHITECTURE/TAG", help="Model of open_clip; a file may stand for the tag"),
    ] = None,
    head: Annotated[
        ZeroShotHead | None, typer.Option(help="Head of an open_clip model: clip if none")
    ] = None,
    published: Annotated[
        tuple[PublishedKind, Path] | None,
        typer.Option(metavar="mkt|sigrl FILE.pth", help="Checkpoint of MKT or SigRL, in the published form"),
    ] = None,
) -> None:
    """Make a bundle of weights that others trained: any CLIP that open_clip knows, MKT's or SigRL's."""
    if published is None and open_clip is None:
        raise DataError(f"name what to import: --open-clip {PUBLISHED_CLIP}, or --published")
    if published is not None and head is not None:
        raise DataError("a published checkpoint comes with its head: leave --head out")
    _check_new(output)
    weights = None if published is None else read_published(*published)
    source = find_source(open_clip or PUBLISHED_CLIP)
    if weights is None and source.tag is None:
        console.print(
            f"{source.name} is not named after weights that open_clip knows: read with "
            f"{'QuickGELU' if source.backbone.quick_gelu else 'GELU'} and CLIP's preprocessing"
        )
    file = fetch(source)
    with progress_bar() as progress:
        task = progress.add_task("import", note="")

        def show(note: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, note=note)

        if weights is None:
            saved = import_open_clip(source, file, head or ZeroShotHead.clip, output, show)
        else:
            saved = import_published(weights, source, file, output, show)
    console.print(f"wrote {output} ({saved.checkpoint_id})")


def _check_new(directory: Path) -> None:
    """Before the work and not after it: `save_bundle` writes over nothing."""
    if directory.exists():
        raise DataError(f"{directory} is there already: a bundle is final, name a new directory")


def _load_towers(path: Path, settings: TrainingConfig) -> Bundle:
    bundle = load_bundle(path)
    for name in ("backbone", "preprocessing"):
        if getattr(bundle.manifest, name) != getattr(settings.pretrain, name):
            raise DataError(f"{path} was made with another `pretrain.{name}`: use its own configuration")
    return bundle


def _write_report(path: Path | None, content: Any) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_json(content, indent=2, inf_nan_mode="null") + b"\n")


def _save(
    output: Path,
    settings: TrainingConfig,
    towers: Backbone,
    head: MatchingHead,
    tokenizer: bytes | None,
    threshold: float,
    commands: list[str],
) -> None:
    model = TaggingModel(settings.pretrain.backbone, head.config, tokenizer)
    model.backbone.load_state_dict(towers.state_dict())
    model.head.load_state_dict(head.state_dict())
    description = Description(
        name="sigrl-compact-unseen" if settings.data.hidden_labels else "sigrl-compact",
        backbone=settings.pretrain.backbone,
        head=head.config,
        preprocessing=settings.pretrain.preprocessing,
        default_threshold=threshold,
        provenance=provenance(settings, commands),
    )
    saved = save_bundle(output, description, model.state_dict(), tokenizer)
    console.print(f"wrote {output} ({saved.checkpoint_id})")


def main() -> None:
    """Entry point: what the user can mend is one line on stderr and exit status 2."""
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
    # An error of a loader's process brings that process's traceback along; its last line is the message.
    return str(error).strip().splitlines()[-1].removeprefix(f"{DataError.__module__}.DataError: ")
