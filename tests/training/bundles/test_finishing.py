"""The folder in which a run finishes its bundle: after a kill, the next run removes it."""

import subprocess
import sys
from pathlib import Path

from sigrl.model.bundle_files import read_files, write_files
from sigrl.training.bundles.finishing import saved_with_graphs

KILLED = """
import sys
from pathlib import Path
from sigrl.model.bundle_files import read_files, write_files
from sigrl.training.bundles.finishing import saved_with_graphs
with saved_with_graphs(Path(sys.argv[2])) as made:
    write_files(made, read_files(Path(sys.argv[1])))
    print("written", flush=True)
    sys.stdin.read()
"""


def test_next_run_removes_the_unfinished_bundle_of_a_killed_run(tiny_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    command = [sys.executable, "-c", KILLED, str(tiny_bundle), str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "written\n"
        process.kill()
    (weights,) = tmp_path.glob(".unfinished-*/**/model.safetensors")
    assert weights.stat().st_size > 0
    with saved_with_graphs(output) as made:
        write_files(made, read_files(tiny_bundle))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
