"""Clients that others' generators make from the OpenAPI document."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import sample_images as samples

Run = Callable[..., str]
HERE = Path(__file__).parent


def _photograph(folder: Path) -> Path:
    path = folder / "photo.jpg"
    path.write_bytes(samples.jpeg())
    return path


def test_openapi_operations_have_unique_identifiers(document: Path) -> None:
    paths = json.loads(document.read_text())["paths"]
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert {"tag", "embeddings", "put_vocabulary", "get_vocabulary", "calibrate"} <= set(names)
    assert len(names) == len(set(names))
    assert all(name.isidentifier() and "v1" not in name for name in names)


def test_generated_python_client_completes_a_round_trip(
    server: httpx.Client, key: str, document: Path, clients: Path, run: Run, tmp_path: Path
) -> None:
    programs = clients / "venv" / "bin"
    run(programs / "openapi-python-client", "generate", "--path", document, "--output-path", "made")
    script = shutil.copy(HERE / "round_trip.py", tmp_path / "made")
    every = "import pkgutil, importlib, sig_rl_tagger_client as c\n" + (
        "for m in pkgutil.walk_packages(c.__path__, c.__name__ + '.'): importlib.import_module(m.name)"
    )
    (tmp_path / "made" / "every_module.py").write_text(every)
    run(programs / "python", tmp_path / "made" / "every_module.py")
    run(programs / "python", script, str(server.base_url), key, _photograph(tmp_path))


def test_generated_typescript_client_completes_a_round_trip(
    server: httpx.Client, key: str, document: Path, node_modules: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(HERE / "round_trip.ts", tmp_path)
    programs = node_modules / ".bin"
    run(programs / "openapi-typescript", document, "-o", "sigrl.d.ts")
    options = ["--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    run(programs / "tsc", *options, "--types", "node", "--skipLibCheck", "round_trip.ts")
    run("node", "round_trip.js", str(server.base_url), key, _photograph(tmp_path))
