"""Folders of unfinished bundles: a killed process leaves one, and the next process removes it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname

import pytest

from sigrl.model.bundle_files import read_files, write_files
from sigrl.model.unfinished import remove_leftovers, unfinished_folder

WRITES = """
import sys
from pathlib import Path
from sigrl.model.unfinished import unfinished_folder
with unfinished_folder(Path(sys.argv[1])) as folder:
    (folder / "model.safetensors").write_bytes(b"half of it")
    print(folder, flush=True)
    sys.stdin.read()
"""
REPEATS = """
import sys
from pathlib import Path
from sigrl.model.unfinished import unfinished_folder
for number in range(200):
    with unfinished_folder(Path(sys.argv[1])) as folder:
        (folder / "first").write_text("1")
        (folder / "second").write_text("2")
        assert len(list(folder.iterdir())) == 2
"""


@contextmanager
def writer(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that is writing in `parent`, and its folder."""
    command = [sys.executable, "-c", WRITES, str(parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_folder_and_lock_disappear_at_the_end_of_the_block(tmp_path: Path) -> None:
    with unfinished_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        (folder / "file").write_text("text")
    with pytest.raises(RuntimeError), unfinished_folder(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_next_bundle_removes_the_leftovers_of_a_killed_process(tiny_bundle: Path, tmp_path: Path) -> None:
    with writer(tmp_path) as (process, folder):
        process.kill()
        process.wait()
        assert (folder / "model.safetensors").is_file()
    write_files(tmp_path / "bundle", read_files(tiny_bundle))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.fixture
def leftover(tmp_path: Path) -> Path:
    """The folder that a killed process left in `tmp_path`, beside its lock."""
    with writer(tmp_path) as (_, folder):
        return folder


def test_leftovers_of_another_host_stay(
    leftover: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # Neither a longer nor a shorter name is this host's.
        for host in (gethostname() + "-2", gethostname()[:-1]):
            patch.setattr("sigrl.model.unfinished.gethostname", lambda host=host: host)
            remove_leftovers(tmp_path)
            assert leftover.is_dir()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_lock_that_a_killed_process_left_without_a_folder_is_removed(leftover: Path, tmp_path: Path) -> None:
    shutil.rmtree(leftover)
    assert list(tmp_path.iterdir()) != []
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_without_a_lock_stays(leftover: Path, tmp_path: Path) -> None:
    leftover.with_name(leftover.name + ".lock").unlink()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [leftover]


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    with writer(tmp_path) as (process, folder):
        remove_leftovers(tmp_path)
        assert (folder / "model.safetensors").read_bytes() == b"half of it"
        process.communicate("")
        assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_processes_that_write_at_once_do_not_harm_one_another(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", REPEATS, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in writers] == [0] * 4
    assert list(tmp_path.iterdir()) == []


def test_folders_and_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / ".unfinished-graph").write_text("a file that something else writes")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".unfinished-graph", "bundle"]
