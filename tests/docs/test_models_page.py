"""docs/models.md lists what `sigrl checkpoint get` offers. `python tests/docs/test_models_page.py` writes its
table anew."""

import re
from pathlib import Path

from sigrl.service.hub.catalogue import Model, catalogue

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
_BLOCK = re.compile(r"(<!-- models -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table() -> str:
    header = (
        "name",
        "parameters (M), image + text",
        "float32",
        "memory",
        "pixels",
        "languages",
        "ImageNet",
        "licence",
    )
    lines = [f"| {' | '.join(header)} |", "|---|---|---:|---:|---:|---|---:|---|"]
    return "\n".join([*lines, *map(_row, catalogue())])


def _row(model: Model) -> str:
    figure = "no figure" if model.imagenet is None else f"{model.imagenet:.1f}"
    cells = (
        f"`{model.name}`",
        " + ".join(f"{count:g}" for count in model.parameters),
        f"{model.full_bytes / 1e9:.1f} GB",
        f"{model.serving_bytes / 1e9:.1f} GB",
        str(model.resolution),
        model.languages,
        f"[{figure}]({model.source})",
        model.licence,
    )
    return f"| {' | '.join(cells)} |"


def test_models_table_matches_the_catalogue() -> None:
    found = _BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert found
    assert found[2].strip() == table(), "python tests/docs/test_models_page.py"


def test_models_without_graphs_are_listed() -> None:
    without = {model.name for model in catalogue() if not model.gets_graphs}
    assert without == {"siglip2-so400m-384", "metaclip2-h14"}
    (line,) = re.findall(r"^- (.*) get no graphs", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"`([\w-]+)`", line)) == without


def test_model_names_are_unique_with_https_sources() -> None:
    names = [model.name for model in catalogue()]
    assert len(set(names)) == len(names)
    assert all(model.source.startswith("https://") for model in catalogue())


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_BLOCK.sub(lambda found: f"{found[1]}{table()}\n{found[3]}", text), encoding="utf-8")
