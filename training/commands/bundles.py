"""Bundles made from other bundles or from weights that others trained: `export`, `calibrate`, `import`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sigrl.model.bundle_files import write_files
from sigrl.training.backbones.model_folder import read_transformers_folder
from sigrl.training.backbones.open_clip_source import fetch, fetch_tokenizer, find_source
from sigrl.training.bundles.calibrate import calibrate, find_photographs
from sigrl.training.bundles.finishing import (
    Addition,
    finish,
    load_quantiser,
    unfinished,
    with_graphs,
    with_graphs_if_possible,
)
from sigrl.training.bundles.import_weights import (
    PUBLISHED_CLIP,
    Progress,
    PublishedKind,
    ZeroShotHead,
    import_folder,
    import_open_clip,
    import_published,
    read_published,
)
from sigrl.training.bundles.replace_head import UntrainedHead, replace_head
from sigrl.training.commands.common import NewBundle, console
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.bundled.recipe import check_new
from sigrl.training.terminal import shown

PhotographsToCalibrate = Annotated[
    Path | None, typer.Option(help="Folder of photographs of your own to calibrate on; no labels needed")
]
WithGraphs = Annotated[
    bool, typer.Option(help="Also write the graphs, which OpenVINO and ONNX Runtime serve; takes a minute")
]


def export_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle to export")],
    output: NewBundle,
    int8: Annotated[
        bool, typer.Option("--int8", help="Image tower in int8, which suits transformers; see --photographs")
    ] = False,
    photographs: Annotated[
        Path | None,
        typer.Option(help="For --int8: folder of photographs like yours, on which activations are measured"),
    ] = None,
) -> None:
    """Write a copy of a bundle that also contains the ONNX graphs, which OpenVINO and ONNX Runtime serve."""
    check_new(output)
    if int8 != (photographs is not None):
        raise DataError(
            "--int8 and --photographs FOLDER go together: the scales of int8 are measured on photographs, "
            "and a bundle contains none, only features"
        )
    quantise = None
    if photographs is not None:
        quantise = partial(load_quantiser(), photographs=find_photographs(photographs, None).image_paths)
    files = with_graphs(bundle)
    if quantise is not None:
        files = quantise(files)
    write_files(output, files)
    made = files.manifest.provenance["export"]
    difference = made["largest_relative_difference"]
    console.print(f"wrote {output} ({files.checkpoint_id}), at most {difference:.0e} from PyTorch's numbers")
    if quantise is not None:
        cosines = ", ".join(f"{name} {cosine:.4f}" for name, cosine in made["image_tower"]["cosines"].items())
        console.print(f"image tower in int8, mean cosines to float32: {cosines}", highlight=False)


def calibrate_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle to calibrate")],
    photographs: Annotated[
        Path, typer.Option(help="Folder of everyday photographs that are not used for evaluation")
    ],
    output: NewBundle,
    labels: Annotated[
        Path | None, typer.Option(help="Their labels: a COCO instances .json, or your own .csv or .jsonl")
    ] = None,
) -> None:
    """Write a bundle that knows how labels score on everyday photographs. Probabilities then mean something
    for words that were never labelled, and each label gets its own threshold."""
    check_new(output)
    made = calibrate(bundle, find_photographs(photographs, labels), photographs.name)
    write_files(output, made.files)
    offset, slope = made.new_words
    console.print(
        f"a new word: {offset:.2f} + {slope:.2f} x (score - lower quartile of its scores on the background); "
        f"uncalibrated: {len(made.trained_labels)} labels",
        highlight=False,
    )
    if made.left_out is not None:
        as_they_come, as_new_words = made.left_out
        console.print(
            "calibration error, mean over labels left out in turn: "
            f"{as_they_come:.2f} % uncalibrated, {as_new_words:.2f} % as new words",
            highlight=False,
        )
    console.print(f"wrote {output} ({made.files.checkpoint_id})")


def import_command(
    output: NewBundle,
    open_clip: Annotated[
        str | None,
        typer.Option(metavar="ARCHITECTURE/TAG", help="open_clip model; a file can replace the tag"),
    ] = None,
    head: Annotated[
        ZeroShotHead | None, typer.Option(help="Head of an open_clip model; clip by default")
    ] = None,
    published: Annotated[
        tuple[PublishedKind, Path] | None,
        typer.Option(metavar="mkt|sigrl FILE.pth", help="Checkpoint of MKT or SigRL, in the published form"),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of a CLIP or SigLIP as Hugging Face's transformers writes it")
    ] = None,
    photographs: PhotographsToCalibrate = None,
    graphs: WithGraphs = True,
) -> None:
    """Make a bundle from weights that others trained: any CLIP in open_clip, a folder of transformers, or
    MKT's or SigRL's checkpoint."""
    if published is None and open_clip is None and folder is None:
        raise DataError(f"name what to import: --open-clip {PUBLISHED_CLIP}, --folder, or --published")
    if folder is not None and (published or open_clip):
        raise DataError("a folder has both towers: omit --open-clip and --published")
    if published is not None and head is not None:
        raise DataError("a published checkpoint has its own head: omit --head")
    check_new(output)
    additions = _additions(photographs, graphs=graphs)
    kind = head or ZeroShotHead.clip
    if folder is not None:
        write: Write = partial(import_folder, read_transformers_folder(folder), kind)
    else:
        write = _fetched(open_clip or PUBLISHED_CLIP, published, kind)
    with unfinished(output) as imported:
        with shown("import") as show:
            write(imported, show)
        checkpoint = finish(imported, additions, output)
    console.print(f"wrote {output} ({checkpoint})")


Write = Callable[[Path, Progress], object]
"""Writes a bundle into a new directory."""


def _fetched(open_clip: str, published: tuple[PublishedKind, Path] | None, kind: ZeroShotHead) -> Write:
    """Fetches open_clip's weights; returns what makes a bundle of them, or of a published checkpoint."""
    weights = None if published is None else read_published(*published)
    source = find_source(open_clip)
    if weights is None and source.tag is None:
        console.print(
            f"{source.name} is not named after an open_clip tag: reading it with "
            f"{'QuickGELU' if source.backbone.quick_gelu else 'GELU'} and CLIP's preprocessing"
        )
    file = fetch(source)
    if weights is not None:
        return partial(import_published, weights, source, file)
    return partial(import_open_clip, source, file, fetch_tokenizer(source), kind)


def head_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle with the towers")],
    kind: Annotated[UntrainedHead, typer.Option(help="The head, which needs no training")],
    output: NewBundle,
    photographs: PhotographsToCalibrate = None,
    graphs: WithGraphs = True,
) -> None:
    """Write a bundle with the towers of another one and a head that needs no training. On the photographs it
    is calibrated; a piaa head, which cannot be, learns from them what labels look like. A tagclip head
    takes no photographs."""
    if kind is UntrainedHead.tagclip and photographs is not None:
        raise DataError(
            "the scores of a tagclip head depend on the other labels asked for, so it cannot be calibrated: "
            "omit --photographs"
        )
    check_new(output)
    learns = kind is UntrainedHead.piaa
    additions = _additions(None if learns else photographs, graphs=graphs)
    with unfinished(output) as made:
        write_files(made, replace_head(bundle, kind, photographs if learns else None))
        checkpoint = finish(made, additions, output)
    console.print(f"wrote {output} ({checkpoint})")


def _additions(photographs: Path | None, *, graphs: bool) -> list[Addition]:
    """What an import adds to its bundle. Raises DataError for a folder that cannot be used."""
    additions: list[Addition] = []
    if photographs is not None:
        found, source = find_photographs(photographs, None), photographs.name
        additions.append(lambda bundle: calibrate(bundle, found, source).files)
    if graphs:
        additions.append(with_graphs_if_possible)
    return additions
