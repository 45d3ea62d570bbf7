"""What README and docs show works as it stands: in their order, in one folder, against one server."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
import typer
import yaml
from quick_commands import quick_commands
from service_process import ServiceProcess
from shown_commands import NOT_RUN as REASONS
from shown_commands import ROOT, commands, is_run, outputs, pages, script

import sigrl.service.cli
import sigrl.training.cli
from sigrl.service.settings import Settings

PROGRAMS = {"sigrl": sigrl.service.cli.app, "sigrl-train": sigrl.training.cli.app}
BESIDE_SETTINGS = {"SIGRL_SERVER", "SIGRL_API_KEY", "SIGRL_PUBLISH", "SIGRL_GOLDEN"}
"""Variables of ours that are no settings of the service."""
NAMED_BY = {"exec", "generic", "restart"}
"""Words after which `sigrl` is the name of a container, a secret, or a unit."""
NOT_RUN = [(page.name, command) for page in pages() for command in commands(page) if not is_run(command)]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment for bash, in a folder with the examples and a server that runs."""
    if not (ROOT / "model/bundled").is_dir() or shutil.which("curl") is None:
        pytest.skip("needs the bundled checkpoint, and curl")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    # An answer that is an error fails the command.
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    server = ServiceProcess(tmp_path, delay=None, recent_photographs=100, feedback_bytes=1 << 24)
    with quick_commands(tmp_path) as programs, server:
        yield {
            **os.environ,
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(tmp_path),
            "SIGRL_DATA": str(tmp_path / "data"),
            "SERVER": server.url,
            # That of the server is taken.
            "SIGRL_PORT": "0",
            # No test asks the internet; `get --list` then shows estimated sizes.
            "HF_ENDPOINT": "http://127.0.0.1:1",
        }


def test_documented_commands_run_successfully(shell: dict[str, str]) -> None:
    folder = Path(shell["HOME"])
    done: set[str] = set()
    printed: list[str] = []
    for page in pages():
        ended = subprocess.run(
            ["bash", "-c", script(page, done, shell["SERVER"])],
            cwd=folder,
            env=shell,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, f"{page.name}\n{ended.stdout[-2000:]}\n{ended.stderr[-3000:]}"
        printed += ended.stdout.splitlines()
        for line in outputs(page):
            assert any(_alike(line, each) for each in printed), f"{page.name} shows {line!r}\n{ended.stdout}"
    assert (folder / "tags.parquet").stat().st_size > 0
    assert (folder / "examples/cat.jpg.xmp").stat().st_size > 0
    assert (folder / "where.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("page", "command"), NOT_RUN, ids=lambda value: value[:60])
def test_commands_that_are_not_run_have_valid_options(page: str, command: str) -> None:  # noqa: ARG001
    words = [word for word in shlex.split(command) if word != "&"]
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        # `docker exec sigrl sigrl doctor`, `pg_dump -U sigrl`, `systemctl restart sigrl`: other names.
        is_name = before in NAMED_BY or (before.startswith("-") and before != "--")
        if word in PROGRAMS and not is_name:
            _parse(word, words[place + 1 :])
            break
    _check_files(words)
    if words[0] == "pip":
        _check_extras(command)
    if "docker" in words:
        _check_docker(words[words.index("docker") + 1 :])


def test_every_skip_reason_matches_a_command() -> None:
    for pattern in REASONS:
        assert any(re.match(pattern, command) for _, command in NOT_RUN), pattern


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_outside_the_docs_folder_are_valid(page: str) -> None:
    """Those of docs/ are followed by `mkdocs build --strict`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = ROOT / (path or page)
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"\W+", "-", each.lower()) for each in headings}, anchor


def test_documented_environment_variables_exist() -> None:
    known = {f"SIGRL_{name.upper()}" for name in Settings.model_fields} | BESIDE_SETTINGS
    for page in pages():
        assert set(re.findall(r"\bSIGRL_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8"))) <= known, page


def _alike(shown: str, printed: str) -> bool:
    """Whether two lines are the same but for the last digits, which depend on the processor, and for bars."""
    number = re.compile(r"\d+(?:\.\d+)?")
    words = [number.sub("#", re.sub(r"[█▉▊▋▌▍▎▏]", "", line)).split() for line in (shown, printed)]
    if words[0] != words[1]:
        return False
    pairs = zip(number.findall(shown), number.findall(printed), strict=True)
    return all(abs(float(one) - float(other)) <= (0.03 if "." in one else 2) for one, other in pairs)


def _parse(program: str, arguments: list[str]) -> None:
    """Unknown commands, options and values end in click's UsageError."""
    command = typer.main.get_command(PROGRAMS[program])
    context: click.Context | None = None
    while True:
        context = command.make_context(program, list(arguments), parent=context)
        arguments = [*context._protected_args, *context.args]
        if not hasattr(command, "resolve_command"):
            return
        program, command, arguments = command.resolve_command(context, arguments)


def _check_files(words: list[str]) -> None:
    for option, value in pairwise(words):
        if option in ("--config", "-r") and not re.match(r"(mkt|biam|clip|mine|small)\.yaml", value):
            assert (ROOT / value).is_file(), value


def _check_extras(command: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {extra for extras in re.findall(r"\[([\w,]+)\]", command) for extra in extras.split(",")}
    assert named <= set(project["optional-dependencies"])


def _check_docker(words: list[str]) -> None:
    if words[0] == "build":
        arguments = {word.split("=")[0] for option, word in pairwise(words) if option == "--build-arg"}
        assert arguments <= set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    if words[0] != "compose":
        return
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    profiles = {profile for each in services.values() for profile in each.get("profiles", ())}
    for option, value in pairwise(words):
        if option == "--profile":
            assert value in profiles
        if option == "--scale":
            assert value.split("=")[0] in services
        if option in ("exec", "-T") and not value.startswith("-"):
            assert value in services
