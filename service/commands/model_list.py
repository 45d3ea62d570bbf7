"""`sigrl checkpoint get --list`: the models on offer."""

from collections.abc import Sequence

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from sigrl.service.hub.catalogue import Model
from sigrl.service.hub.download import Hub
from sigrl.service.hub.model_files import download_sizes

_REST = "parameters (M)", "download", "memory", "pixels", "languages", "ImageNet", "licence"


def print_list(hub: Hub, models: Sequence[Model]) -> None:
    """Prints the table, and below it the sources of its figures. Sizes of downloads are the hub's; where it
    does not state them they are estimates."""
    reachable = hub.answers()
    sizes = download_sizes(hub, models) if reachable else {}
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for column in _REST:
        table.add_column(column)
    for model in models:
        exact = sizes.get(model.name)
        table.add_row(
            model.name,
            " + ".join(f"{count:g}" for count in model.parameters),
            f"about {decimal(model.full_bytes)}" if exact is None else decimal(exact),
            decimal(model.serving_bytes),
            str(model.resolution),
            model.languages,
            "no figure" if model.imagenet is None else f"{model.imagenet:.1f}",
            model.licence,
        )
    notes = [
        "memory: about what serving takes.",
        "ImageNet: zero-shot accuracy in percent, as published by others; none of it was measured here. "
        "Licences and figures are those of these pages:",
        *(f"  {page}: {', '.join(names)}" for page, names in _by_source(models).items()),
    ]
    unknown = [model.name for model in models if model.name not in sizes]
    if unknown:
        reason = f"states no size for {', '.join(unknown)}" if reachable else "cannot be reached"
        notes.insert(
            0,
            f"download: {hub.address} {reason}; 'about' is the size of the weights in float32, as most "
            "publishers store them. `get` prints the exact size before it downloads.",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print("\n".join(notes), soft_wrap=True, markup=False)


def _by_source(models: Sequence[Model]) -> dict[str, list[str]]:
    """The models' names by the page that states their figures."""
    names: dict[str, list[str]] = {}
    for model in models:
        names.setdefault(model.source, []).append(model.name)
    return names
