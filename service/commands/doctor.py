"""`sigrl doctor`: checks whether the service can run here, and says what to do if it cannot."""

import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.errors import ParameterError

if TYPE_CHECKING:
    from rich.console import Console

    from sigrl.service.commands.diagnosis import Finding
    from sigrl.service.settings import Settings

_LACKING = 1
_COLOURS = {"ok": "green", "note": "yellow", "failed": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Checks this installation and says how to fix what is wrong.

    With the current settings, checks the engine and its device, the checkpoint, a first photograph, the data
    folder, the database and the port. It changes nothing. Exit status: 0 if the service can run, 1 if a check
    failed.
    """
    console = None if as_json else _console()
    settings, findings = _examined()
    found: list[Finding] = []
    for finding in findings:
        found.append(finding)
        if console is not None:
            _show(console, finding)
    # All settings in effect; passwords are masked.
    shown = {} if settings is None else settings.model_dump(mode="json")
    failed = sum(finding.status == "failed" for finding in found)
    if console is None:
        checks = [dataclasses.asdict(finding) for finding in found]
        print(json.dumps({"ok": not failed, "checks": checks, "settings": shown}))
    else:
        for name in sorted(() if settings is None else settings.model_fields_set):
            console.print(f"         SIGRL_{name.upper()} = {shown[name]}", markup=False)
        console.print(f"{failed} of {len(found)} checks failed" if failed else "the service can run here")
    if failed:
        raise typer.Exit(_LACKING)


def _examined() -> "tuple[Settings | None, Iterable[Finding]]":
    from sigrl.service.commands.diagnosis import Finding, examine
    from sigrl.service.settings import load_settings

    try:
        settings = load_settings()
    except ParameterError as error:
        return None, [Finding("settings", "failed", error.detail, error.hint)]
    return settings, examine(settings)


def _console() -> "Console":
    from rich.console import Console

    # Lines are not wrapped, so that they can be searched and copied.
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def _show(console: "Console", finding: "Finding") -> None:
    console.print(f"{finding.status:6}", style=_COLOURS[finding.status], end="   ")
    hint = f"; {finding.hint}" if finding.hint else ""
    console.print(f"{finding.check}: {finding.detail}{hint}", markup=False)
