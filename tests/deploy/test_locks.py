"""What the images install is what the project asks for. Where this fails: `deploy/lock.sh`."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
INCLUDED = [*EXTRAS["postgres"], *EXTRAS["otel"]]
WITH_TORCH = [*PROJECT["project"]["dependencies"], *INCLUDED]
WITHOUT_TORCH = [*(ROOT / "requirements-onnx.txt").read_text().splitlines(), *INCLUDED]
ASKED = {
    "gpu": WITH_TORCH,
    "cpu": WITH_TORCH,
    "export": [*WITH_TORCH, *EXTRAS["export"], *EXTRAS["onnx"]],
    "onnx": [line for line in WITHOUT_TORCH if not line.startswith("#")],
    "build": PROJECT["build-system"]["requires"],
}


def _pins(name: str) -> dict[str, str]:
    """Release by package, for Python 3.11."""
    lines = (LOCKS / f"{name}.txt").read_text().splitlines()
    pins = {}
    for line in lines:
        found = re.match(r"([\w.-]+)==([^\s;]+)(.*?)\\?$", line)
        if found and "python_full_version >= '3.12'" not in found[3]:
            pins[canonicalize_name(found[1])] = found[2]
    return pins


@pytest.mark.parametrize("name", ASKED)
def test_every_requirement_is_pinned_to_a_matching_release(name: str) -> None:
    pins = _pins(name) | (_pins("torch") if name in ("cpu", "export") else {})
    for asked in map(Requirement, ASKED[name]):
        pinned = pins.get(canonicalize_name(asked.name))
        assert pinned is not None, f"{asked} is not in deploy/locks/{name}.txt: run deploy/lock.sh"
        assert asked.specifier.contains(pinned), f"{asked} is pinned to {pinned}: run deploy/lock.sh"


@pytest.mark.parametrize("name", ASKED)
def test_every_pinned_package_has_a_hash(name: str) -> None:
    entries = re.split(r"\n(?=[\w.-]+==)", (LOCKS / f"{name}.txt").read_text())
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    # Where a file is from is said by the machine that installs it.
    assert not re.search(r"index-url|find-links|https?:", "".join(entries))


def test_all_images_pin_the_same_releases() -> None:
    everything = _pins("gpu") | _pins("export")
    for name in ("torch", "cpu", "export", "onnx"):
        assert _pins(name).items() <= everything.items(), name


def test_only_the_gpu_image_has_cuda() -> None:
    for name in ("cpu", "export", "onnx"):
        assert not [pin for pin in _pins(name) if re.match("nvidia|cuda|triton|torch", pin)]
