"""docs/architecture.md names files, classes and functions that exist."""

import ast
import re

from shown_commands import ROOT

PAGE = ROOT / "docs" / "architecture.md"
NAMED = re.compile(r"`((?:model|service|training)/[\w/.]*)(?:: ([\w., ]+))?`")


def test_files_and_names_in_the_architecture_page_exist() -> None:
    named = NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) > 50
    for path, names in named:
        assert (ROOT / path).exists(), path
        if names:
            defined = _definitions((ROOT / path).read_text(encoding="utf-8"))
            assert set(names.split(", ")) <= defined, (path, names)


def _definitions(source: str) -> set[str]:
    """Names at the top of a module, and `Class.method`."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found.add(node.name)
            case ast.ClassDef():
                members = [
                    each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                ]
                found |= {node.name, *(f"{node.name}.{each.name}" for each in members)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found
