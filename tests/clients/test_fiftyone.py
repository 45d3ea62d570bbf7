"""FiftyOne opens what `sigrl tag --out` writes."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sample_images as samples

from sigrl.service import cli

SCRIPT = Path(__file__).parent / "open_in_fiftyone.py"


def test_its_dataset_has_tags_probabilities_and_thresholds(
    tiny_bundle: Path, clients: Path, run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    run(clients / "venv" / "bin" / "python", SCRIPT, out)
