from pathlib import Path

import pytest
import sample_images as samples

from sigrl.service.drawing.files import SUFFIXES, check_target, is_ours, save
from sigrl.service.errors import ParameterError


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PNG"])
def test_only_own_output_files_are_overwritten(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    for _ in range(2):
        check_target("--explain", out)
        save(samples.picture(), out)
        assert is_ours(out)
    assert list(tmp_path.iterdir()) == [out]
    out.write_bytes(samples.jpeg())
    with pytest.raises(ParameterError, match="this command did not write"):
        check_target("--explain", out)


@pytest.mark.parametrize(
    ("name", "told"), [("out.gif", "out.gif"), ("out", "out"), ("absent/out.png", "does not exist")]
)
def test_unwritable_target_is_reported_in_advance(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        check_target("--explain", tmp_path / name)


def test_failed_write_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="cannot write"):
        save(samples.picture(), tmp_path / "absent" / "out.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ParameterError, match="folder"):
        save(samples.picture(), tmp_path / "folder.png")
    assert [each.name for each in tmp_path.iterdir()] == ["folder.png"]
