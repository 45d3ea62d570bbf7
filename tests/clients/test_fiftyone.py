"""FiftyOne opens what `sigrl tag --out` writes."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sample_images as samples

from sigrl.service import cli

SCRIPT = Path(__file__).parent / "open_in_fiftyone.py"


@pytest.fixture
def database(clients: Path, tmp_path: Path) -> Iterator[str]:
    """The URI of a MongoDB; skips if `install.sh` could not fetch its program."""
    program = clients / "mongod" / "mongod"
    if not program.is_file():
        pytest.skip("there is no mongod in SIGRL_CLIENTS; see tests/clients/install.sh")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "mongo").mkdir()
    options = ["--dbpath", str(tmp_path / "mongo"), "--bind_ip", "127.0.0.1", "--nounixsocket", "--quiet"]
    process = subprocess.Popen(
        [program, *options, "--port", str(port)],
        env={**os.environ, "LD_LIBRARY_PATH": str(program.parent)},
        stdout=subprocess.DEVNULL,
    )
    try:
        # FiftyOne itself waits until the database answers.
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_fiftyone_opens_the_dataset_with_tags_and_thresholds(
    tiny_bundle: Path,
    clients: Path,
    database: str,
    run: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, out = tmp_path / "album", tmp_path / "tags.fiftyone.json"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.jpg").write_bytes(samples.jpeg())
    monkeypatch.setenv("SIGRL_DATA", str(tmp_path / "data"))
    arguments = [str(folder), "--labels", "dog,cat", "--threshold", "0", "--checkpoint", str(tiny_bundle)]
    monkeypatch.setattr(sys, "argv", ["sigrl", "tag", *arguments, "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", database)
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    run(clients / "venv" / "bin" / "python", SCRIPT, out)
