"""`sigrl vocab suggest`: says which photographs of a folder to label for a vocabulary."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.server import LOCAL, ServerOption, connected
from sigrl.service.errors import ExamplesError, ImageError, ParameterError
from sigrl.service.terminal import Renderer, printable

if TYPE_CHECKING:
    from sigrl.service.schemas.suggesting import Candidate

_COUNT = 40


def suggest_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a vocabulary; see `sigrl vocab list`.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of photographs to choose from.")],
    count: Annotated[
        int, typer.Option(min=1, max=200, help="How many photographs to suggest; thirty to fifty gain most.")
    ] = _COUNT,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE.csv", help="Labels file to write, ready to be filled in."
        ),
    ] = None,
    server: ServerOption = LOCAL,
) -> None:
    """Suggests which photographs of a folder to label, so that `sigrl vocab calibrate` gains most.

    It chooses the photographs that the vocabulary is unsure about and that differ from each other. The page
    of the server does the same, and shows the photographs one by one.
    """
    if output is not None and output.exists():
        raise ParameterError(f"{output} exists", "name another file: labels in it would be lost")
    from sigrl.service.client.connection import AT_ONCE
    from sigrl.service.client.photographs import batches
    from sigrl.service.images.folders import find_photographs
    from sigrl.service.schemas.tags import FailedImage

    paths = list(find_photographs([folder]))
    found: dict[int, Candidate] = {}
    with connected(server) as client:
        with Renderer(as_json=False) as renderer, renderer.phase("looking", len(paths)) as progress:
            done = 0
            for batch in batches(paths, AT_ONCE):
                images: Sequence[Candidate | FailedImage] = ()
                if batch.waiting:
                    # A file that is no photograph is left out; alone in its request it is an error.
                    with suppress(ImageError):
                        images = client.weigh(name, list(batch.waiting.values())).images
                for index, image in zip(batch.waiting, images, strict=False):
                    if not isinstance(image, FailedImage):
                        found[index] = image
                done += len(batch.refused) + len(batch.waiting)
                progress(done)
        if not found:
            raise ExamplesError(f"no photograph of '{printable(folder)}' can be used", "give another folder")
        rows = list(found)
        suggestion = client.suggest(name, list(found.values()), count)
    chosen = [paths[rows[position]] for position in suggestion.suggested]
    for path in chosen:
        print(printable(path))
    if output is not None:
        _write(output, [path.relative_to(folder) for path in chosen])


def _write(output: Path, images: list[Path]) -> None:
    try:
        with output.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image", "positive", "negative"])
            table.writerows([image, "", ""] for image in images)
    except OSError as error:
        raise ParameterError(f"cannot write {output}: {error.strerror}", "give another path") from error
