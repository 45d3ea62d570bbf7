"""Everything is importable as `sigrl`, beside a user's own modules `model`, `service` and `training`."""

import os
import subprocess
import sys
from pathlib import Path

from shown_commands import ROOT


def _run(program: str, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_project_can_have_its_own_model_service_and_training_modules(tmp_path: Path) -> None:
    # The folder of a program comes before everything else in its path.
    for module in ("model.py", "service/__init__.py", "training.py"):
        (tmp_path / module).parent.mkdir(exist_ok=True)
        (tmp_path / module).write_text("NAME = 'the project'\n")
    told = _run(
        "from sigrl import Tagger\n"
        "import sigrl.client, sigrl.model, sigrl.service.app, sigrl.training.cli\n"
        "import model, service, training\n"
        "assert {model.NAME, service.NAME, training.NAME} == {'the project'}\n"
        "print(*(each.__module__.split('.')[0] for each in (Tagger, sigrl.service.app.create_app)))\n",
        tmp_path,
    )
    assert told.split() == ["sigrl", "sigrl"]


def test_client_imports_neither_torch_nor_fastapi(tmp_path: Path) -> None:
    told = _run(
        "import sigrl.client, sys\n"
        "loaded = {each.split('.')[0] for each in sys.modules}\n"
        "print(sorted({'fastapi', 'starlette', 'torch', 'PIL'} & loaded))\n",
        tmp_path,
    )
    assert told.strip() == "[]"
