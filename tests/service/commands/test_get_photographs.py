"""`sigrl checkpoint get --photographs`: the bundle is calibrated once, also if the command runs again."""

import json
import shutil
from pathlib import Path

import pytest
from hub.listed import MODEL
from hub.stand_in import StandIn
from PIL import Image
from two_checkpoints import serving as serving_app

from sigrl.service.app import create_app
from sigrl.service.hub import catalogue
from sigrl.service.settings import Settings


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (70, 90), (12 * number, 100, 255 - 12 * number)).save(folder / f"{number}.jpg")
    return folder


def test_get_calibrates_and_activates_on_a_running_server(
    sigrl, hub: StandIn, data_folder: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_app(create_app(Settings())) as client:
        monkeypatch.setenv("SIGRL_SERVER", str(client.base_url))
        status, _, err = sigrl("checkpoint", "get", "tiny-clip", "--photographs", photographs, "--activate")
        assert status == 0, err
        assert "is active on http" in err
        listed = client.get("/v1/checkpoints").json()
        assert listed["checkpoints"][-1]["state"] == "active"
        assert listed["bundles"][0]["calibrated"] is True
        assert "not calibrated" not in sigrl("checkpoint", "list", "--server", client.base_url)[1]
    assert "not calibrated" not in err
    manifest = json.loads((data_folder / "checkpoints" / "tiny-clip" / "manifest.json").read_text())
    assert manifest["calibration"]["photographs"] == 20
    assert manifest["provenance"]["export"]["largest_relative_difference"] < 1e-4
    # Asked again, nothing is fetched.
    hub.asked.clear()
    assert sigrl("checkpoint", "get", "tiny-clip")[0] == 0
    assert hub.asked == []


def test_run_again_after_a_failed_activation_activates_the_calibrated_bundle(
    sigrl, hub: StandIn, data_folder: Path, photographs: Path
) -> None:
    command = "checkpoint", "get", "tiny-clip", "--photographs", photographs, "--activate", "--server"
    # The hub answers, but not as a server of ours does.
    assert sigrl(*command, hub.address)[0] == 2
    bundle = data_folder / "checkpoints" / "tiny-clip"
    manifest = (bundle / "manifest.json").read_bytes()
    with serving_app(create_app(Settings())) as client:
        status, _, err = sigrl(*command, client.base_url)
        assert status == 0, err
        assert f"{bundle} already exists and is calibrated, so {photographs} is not used" in err
        assert client.get("/v1/checkpoints").json()["checkpoints"][-1]["bundle"] == "tiny-clip"
        assert client.get("/v1/checkpoints").json()["checkpoints"][-1]["state"] == "active"
    assert (bundle / "manifest.json").read_bytes() == manifest


def test_photographs_for_a_bundle_without_a_calibration_are_not_ignored(
    sigrl, tiny_bundle: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "catalogue", lambda: (MODEL,))
    bundle, folder = data_folder / "checkpoints" / "tiny-clip", tmp_path / "my photographs"
    shutil.copytree(tiny_bundle, bundle)
    status, out, err = sigrl("checkpoint", "get", "tiny-clip", "--photographs", folder, "--activate")
    assert (status, out) == (2, "")
    assert "already exists and is not calibrated" in err
    assert f"sigrl-train calibrate {bundle} --photographs '{folder}' -o {bundle}-calibrated" in err
    assert "sigrl checkpoint load tiny-clip-calibrated --activate" in err
