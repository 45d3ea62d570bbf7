"""What a command imports before it answers: where a bundle has graphs, nothing that takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sigrl.model.bundle_files import write_files
from sigrl.training.bundles.export import export

pytest.importorskip("openvino")

HEAVY = {"torch", "torchvision", "open_clip", "timm", "transformers"}
RUN = """
import json, sys

from sigrl.service import cli

if sys.argv[1] == "serve":
    from sigrl.service.http import server

    server.Server.run = lambda self: None
status = 0
try:
    cli.main()
except SystemExit as end:
    status = end.code
print(json.dumps([status or 0, sorted({name.split(".")[0] for name in sys.modules})]))
"""


@pytest.fixture(scope="module")
def exported(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exported") / "tiny"
    write_files(directory, export(tiny_bundle, lambda *_: None))
    return directory


@pytest.mark.parametrize("command", ["tag", "serve", "--help"])
def test_commands_do_not_import_pytorch_for_bundles_with_graphs(
    exported: Path, photograph: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGRL_CHECKPOINT", str(exported))
    arguments = {"tag": ["tag", str(photograph), "--labels", "dog,cat"], "serve": ["serve", "--port", "0"]}
    process = subprocess.run(
        [sys.executable, "-c", RUN, *arguments.get(command, [command])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    status, modules = json.loads(process.stdout.splitlines()[-1])
    assert status == 0, process.stderr
    assert not HEAVY & set(modules)
    if command == "tag":
        assert "openvino" in modules
        # No server, and no database where no vocabulary is calibrated.
        assert not {"fastapi", "sqlalchemy"} & set(modules)
