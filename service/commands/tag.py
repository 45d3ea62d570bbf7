"""`sigrl tag`: tags photographs on this machine, on a server or on a Ray cluster."""

from dataclasses import asdict
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.film import check_films, tag_films
from sigrl.service.commands.pictures import check_pictures, draw_sheet, explain_photograph
from sigrl.service.commands.server import OptionalServerOption
from sigrl.service.commands.tag_source import Asked, open_downloading, open_ray_source, open_source
from sigrl.service.errors import ImageError, ParameterError
from sigrl.service.images.folders import find_photographs
from sigrl.service.terminal import Renderer, is_address

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sigrl.service.bulk.objects import ObjectStores
    from sigrl.service.bulk.tag_sources import TagSource
    from sigrl.service.tagging.selection import Selection

SOME_FAILED = 1


class Sidecar(StrEnum):
    """Formats of the file that is written beside each photograph."""

    XMP = "xmp"
    XMP_LIGHTROOM = "xmp-lightroom"
    JSON = "json"


CheckpointOption = Annotated[
    Path | None, typer.Option(help="Folder of a checkpoint bundle; by default the bundled checkpoint.")
]


def tag_command(
    photographs: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO...", help="Photographs, folders, films, or s3://BUCKET/FOLDER."),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option(help='What to look for: "dog,bicycle", or a JSON list if a label contains a comma.'),
    ] = None,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(
            help="A vocabulary instead of --labels: a name from `sigrl vocab list`, or a file. Can be given "
            "several times; the model still runs once per photograph."
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="At most this many tags; without --threshold, exactly this many."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Least probability of a tag.")
    ] = None,
    false_positive_rate: Annotated[
        float | None,
        typer.Option(
            help="Instead of --threshold: the share of photographs without a label that may get it."
        ),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            help="Instead of --threshold: of the photographs that get a label, the share that should show it."
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(
            help="Instead of --threshold: of the photographs that show a label, the share that should get it."
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language of the tags, such as `de`, if the vocabulary has translations; --labels are "
            "read in it first."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per photograph.")] = False,
    checkpoint: CheckpointOption = None,
    server: OptionalServerOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the tags to FILE (.parquet, .csv, .jsonl, .fiftyone.json) instead of printing them.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="CLUSTER",
            help="With --out: tag on a Ray cluster, given as `auto` or its address; `local` starts a process "
            "on each core of this machine.",
        ),
    ] = None,
    sidecar: Annotated[
        Sidecar | None,
        typer.Option(
            help="With --out: also write a file beside each photograph: `xmp` writes cat.jpg.xmp, "
            "`xmp-lightroom` cat.xmp, `json` cat.jpg.json."
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw where the tags of one photograph are seen, as PNG or JPEG."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the photographs with their tags, 30 to a page, instead of printing them.",
        ),
    ] = None,
) -> None:
    """Tags photographs.

    Without options, shows up to ten everyday labels that are almost certainly present, or else guesses.
    With --labels or --vocabulary, shows all labels that reach their threshold. --threshold replaces that
    threshold; --precision, --recall or --false-positive-rate computes one. --top-k shows that many labels
    whether or not they reach it; combined with one of these options, at most that many that do. With several
    vocabularies, this applies to each.

    --out writes the tags of folders of any size to a file. The command may be stopped at any time; run it
    again to continue. Photographs that cannot be tagged are listed in a file beside it.

    Films are named like `film.mp4`: a frame every two seconds, and one more where a scene changes, is tagged,
    and the times at which each tag is seen are printed; --sheet draws the frames.

    --explain draws the photograph beside a map of each tag, of up to six tags unless --top-k asks for more.
    --sheet draws a contact sheet; further pages are called FILE-2, FILE-3 and so on.

    Exit status: 0 if all photographs were tagged, 1 if some could not be, 2 if the usage is wrong
    and nothing was tagged.
    """
    if labels is not None and vocabulary:
        raise ParameterError("both --labels and --vocabulary are given", "give one of them")
    names = vocabulary or []
    thresholds = (threshold, false_positive_rate, precision, recall)
    sets_thresholds = any(each is not None for each in thresholds)
    objects = _open_objects(photographs, alone=not (ray or sidecar or explain or sheet))
    of_films = objects is None and check_films(
        photographs,
        alone=not (out or ray or sidecar or explain),
        vocabularies=names,
        sheet=sheet,
    )
    check_pictures(
        explain, sheet, photographs, names, out=out, as_json=as_json, sets_thresholds=sets_thresholds
    )
    _check_bulk(out, sidecar, names, as_json)
    _check_ray(ray, out, server)

    from sigrl.service.tagging.selection import Selection

    selection = Selection(
        top_k,
        *thresholds,
        brief=labels is None and not names,
        # Labels in the user's own words keep them.
        languages=(language,) if language is not None and labels is None else (),
    )
    asked = Asked(labels, names, selection, language, checkpoint)
    opened: AbstractContextManager[TagSource]
    if of_films:
        with Renderer(as_json) as renderer:
            opened = open_source(renderer, asked, server)
            failed = tag_films(renderer, opened, photographs, sheet, top_k, as_json=as_json)
        raise typer.Exit(SOME_FAILED if failed else 0)
    if picture := explain or sheet:
        with Renderer(as_json) as renderer:
            seeing = open_source(renderer, asked, server)
            draw = explain_photograph if explain is not None else draw_sheet
            failed = draw(renderer, seeing, photographs, picture, top_k)
        raise typer.Exit(SOME_FAILED if failed else 0)
    with Renderer(as_json) as renderer:
        if ray is not None:
            opened = open_ray_source(renderer, asked, ray)
        else:
            opened = open_source(renderer, asked, server)
        if objects is not None:
            opened = open_downloading(opened, objects)
        found = find_photographs(photographs) if objects is None else objects.find(photographs)
        if out is None:
            failed = _show(renderer, opened, list(found))
        else:
            from sigrl.service.bulk.job import tag_in_bulk
            from sigrl.service.bulk.ledger import stamp_of_file

            with opened as source:
                stamp = stamp_of_file if objects is None else objects.stamp
                summary = tag_in_bulk(source, found, out, in_words(selection), sidecar, renderer, stamp)
            failed = summary.failed > 0
    if out is not None:
        note = f", {summary.failed:,} failed: see {summary.failures}" if failed else ""
        print(f"{out}: {summary.tagged:,} photograph{'' if summary.tagged == 1 else 's'}{note}")
    if failed:
        raise typer.Exit(SOME_FAILED)


def _show(renderer: Renderer, opened: "AbstractContextManager[TagSource]", paths: list[Path]) -> bool:
    """Prints tags as they arrive; returns whether some photographs could not be tagged."""
    failed = False
    with opened as source, renderer.phase("tagging", len(paths)) as tagged:
        for number, (path, result) in enumerate(source.tag(paths), 1):
            renderer.show(path, result)
            failed = failed or isinstance(result, ImageError)
            tagged(number)
    return failed


def _open_objects(photographs: list[Path], *, alone: bool) -> "ObjectStores | None":
    """The stores of the objects that are to be tagged, or None for files. `alone`: no option is given that
    objects do not take. Raises ParameterError."""
    if not any(map(is_address, photographs)):
        return None
    if not all(map(is_address, photographs)):
        raise ParameterError("files and objects are given together", "run the command once for each")
    if not alone:
        raise ParameterError("objects take no --ray, --sidecar, --explain or --sheet", "omit these options")
    from sigrl.service.bulk.objects import ObjectStores
    from sigrl.service.images.files import ImageLimits
    from sigrl.service.settings import load_settings

    return ObjectStores(ImageLimits.of(load_settings()))


def _check_bulk(out: Path | None, sidecar: Sidecar | None, names: list[str], as_json: bool) -> None:
    if out is None:
        if sidecar is not None:
            raise ParameterError(
                "--sidecar needs --out", "add --out tags.csv, which also records the progress"
            )
        return
    from sigrl.service.bulk.writing import writer

    writer(out)
    if len(names) > 1 or as_json:
        raise ParameterError("--out takes one vocabulary and no --json", "for JSON, use --out tags.jsonl")


def _check_ray(cluster: str | None, out: Path | None, server: str | None) -> None:
    if cluster is None:
        return
    if out is None or server is not None:
        raise ParameterError(
            "--ray needs --out and takes no --server", "add --out tags.parquet, and leave out --server"
        )
    if find_spec("ray") is None:
        raise ParameterError("Ray is not installed", "pip install 'sigrl-tagger[ray]' on every machine")


def in_words(selection: "Selection") -> str:
    """A description of the selection for a ledger."""
    # Without a language, as in ledgers that were begun before there were languages.
    left_out = () if selection.languages else ("languages",)
    return ", ".join(f"{name} {value}" for name, value in asdict(selection).items() if name not in left_out)
