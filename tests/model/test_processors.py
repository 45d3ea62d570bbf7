import os
import subprocess
import sys
from pathlib import Path

import pytest

from sigrl.model import processors
from sigrl.model.processors import available_processors, bound_native_threads, cgroup_quotas


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_available_processors_respects_cpu_affinity() -> None:
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{one}]); from sigrl.model import processors as p; "
    code += "print(p.available_processors())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"1\n"


def test_cgroup_v2_quotas_are_read_up_to_the_root(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/pods/pod1\n")
    _file(tmp_path / "cgroup/pods/pod1/cpu.max", "max 100000\n")
    _file(tmp_path / "cgroup/pods/cpu.max", "150000 100000\n")
    assert list(cgroup_quotas(own, tmp_path / "cgroup")) == [1.5]


def test_unknown_cgroup_path_falls_back_to_the_root(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/docker/0123\n")
    _file(tmp_path / "cgroup/cpu.max", "50000 100000\n")
    assert list(cgroup_quotas(own, tmp_path / "cgroup")) == [0.5]


def test_cgroup_v1_quotas_are_read(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:memory:/a\n3:cpu,cpuacct:/a\n")
    _file(tmp_path / "cgroup/cpu/a/cpu.cfs_quota_us", "300000\n")
    _file(tmp_path / "cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    _file(tmp_path / "cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    _file(tmp_path / "cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert list(cgroup_quotas(own, tmp_path / "cgroup")) == [3.0]
    assert list(cgroup_quotas(tmp_path / "nothing")) == []


def test_available_processors_is_the_smallest_quota_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processors, "cgroup_quotas", lambda: iter([2.0, 0.5]))
    assert available_processors() == 1
    bound_native_threads()
    assert os.environ["OMP_NUM_THREADS"] == "1"


_THREADS = """
import numpy
from threading import Event, Thread
from threadpoolctl import ThreadpoolController
from sigrl.model.processors import blas_on_one_thread

def threads():
    (found,) = {each["num_threads"] for each in ThreadpoolController().select(user_api="blas").info()}
    return found

before = threads()
"""


def _run(code: str, **variables: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", _THREADS + code], env=kept | variables, check=True, timeout=60)


def test_blas_has_one_thread_within_the_block_alone() -> None:
    _run("""
with blas_on_one_thread():
    assert threads() == 1
assert threads() == before
""")


def test_blas_gets_its_threads_back_after_overlapping_blocks() -> None:
    _run("""
entered, left = Event(), Event()

def first():
    with blas_on_one_thread():
        entered.set()
        left.wait(0.2)

def second():
    entered.wait()
    with blas_on_one_thread():
        assert threads() == 1

both = [Thread(target=each) for each in (first, second)]
for each in both:
    each.start()
for each in both:
    each.join()
assert threads() == before
""")


def test_blas_keeps_the_threads_that_the_environment_names() -> None:
    _run(
        """
with blas_on_one_thread():
    assert threads() == before
""",
        OPENBLAS_NUM_THREADS="2",
    )
