"""`sigrl checkpoint get`, from a stand-in for the hub to a server that answers with the bundle.

The conversion is the real one, in its own process; its architecture is a tiny one of a listed family, with
random weights.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hub.listed import MODEL, WEIGHTS
from hub.stand_in import StandIn
from open_clip import factory
from safetensors.torch import save
from tiny_clips import make_clip, register_tiny_siglip
from two_checkpoints import serving as serving_app

from sigrl.service.app import create_app
from sigrl.service.hub import catalogue
from sigrl.service.settings import Settings

SIGLIP = MODEL.model_copy(
    update={
        "name": "tiny-siglip2",
        "architecture": "tiny-siglip2",
        "repository": "someone/tiny-siglip2",
        "tokenizer": "someone/tiny-siglip2",
        "languages": "many",
    }
)
KILLED = """
import os, sys
from pathlib import Path
from sigrl.model.unfinished import unfinished_folder
with unfinished_folder(Path(sys.argv[1])) as folder:
    (folder / "model.safetensors").write_bytes(b"gigabytes")
    os._exit(1)
"""


@pytest.fixture
def siglip(hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny SigLIP 2 with its own tokenizer, on the stand-in and in the open_clip of the conversion."""
    register_tiny_siglip()
    made = make_clip("siglip2", tmp_path, monkeypatch)
    monkeypatch.setattr(catalogue, "catalogue", lambda: (SIGLIP,))
    for name in ("weights.safetensors", "tokenizer.json", "tokenizer_config.json"):
        stored = "open_clip_model.safetensors" if name.startswith("weights") else name
        hub.files[f"/someone/tiny-siglip2/resolve/main/{stored}"] = (made.file.parent / name).read_bytes()
    config = json.dumps(json.dumps(factory._MODEL_CONFIGS["tiny-siglip2"]))
    (tmp_path / "sitecustomize.py").write_text(f"""
import json
import sigrl.model.torchvision_cure
from open_clip import factory, pretrained
from tiny_clips import register_tiny_siglip
register_tiny_siglip()
factory._MODEL_CONFIGS["tiny-siglip2"] = json.loads({config})
of_hub = pretrained._slpcfg(hf_hub="someone/tiny-siglip2/")
pretrained._PRETRAINED["tiny-siglip2"] = {{"random": of_hub}}
""")
    folders = [tmp_path, Path.cwd(), Path.cwd() / "tests" / "training"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))


@pytest.mark.usefixtures("no_server")
def test_get_downloads_and_activates_a_clip_model(
    sigrl, hub: StandIn, data_folder: Path, photograph: Path
) -> None:
    hub.breaks_after = 300_000
    status, _, err = sigrl("checkpoint", "get", "tiny-clip", "--activate")
    assert status == 0, err
    assert "to download; at most" in err
    assert "of memory" in err
    assert "minutes" in err
    assert "not calibrated" in err
    bundle = data_folder / "checkpoints" / "tiny-clip"
    assert (bundle / "image_tower.onnx").is_file()
    assert not (data_folder / "downloads" / "tiny-clip").exists()
    with serving_app(create_app(Settings())) as client:
        listed = client.get("/v1/checkpoints").json()
        assert listed["checkpoints"][0]["bundle"] == "tiny-clip"
        answer = client.post(
            "/v1/tag", files={"image": photograph.read_bytes()}, data={"labels": '["dog", "cat"]'}
        )
        assert answer.json()["checkpoint"] == listed["active"]
        assert answer.json()["vocabulary"]["calibrated"] is False
        listing = sigrl("checkpoint", "list", "--server", client.base_url)[1]
        assert "not calibrated" in listing
        assert "sigrl-train calibrate" in listing


@pytest.mark.usefixtures("no_server", "siglip")
def test_get_downloads_and_activates_a_siglip2_model(
    sigrl, hub: StandIn, data_folder: Path, photograph: Path
) -> None:
    status, _, err = sigrl("checkpoint", "get", "tiny-siglip2", "--activate")
    assert status == 0, err
    assert {path.rpartition("/")[2] for _, path, _ in hub.asked} == {
        "open_clip_model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert (data_folder / "checkpoints" / "tiny-siglip2" / "tokenizer.json").is_file()
    with serving_app(create_app(Settings())) as client:
        answer = client.post(
            "/v1/tag",
            files={"image": photograph.read_bytes()},
            data={"labels": '["犬", "dog"]', "top_k": "2"},
        ).json()
        assert answer["checkpoint"] == client.get("/v1/checkpoints").json()["active"]
        assert {tag["label"] for tag in answer["images"][0]["tags"]} == {"犬", "dog"}


@pytest.mark.usefixtures("no_server")
def test_offline_get_names_the_file_and_accepts_it_with_from_option(
    sigrl, hub: StandIn, weights: bytes, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    status, _, err = sigrl("checkpoint", "get", "tiny-clip")
    assert (status, len(err.splitlines())) == (2, 1)
    assert (
        f"bring http://127.0.0.1:1{WEIGHTS} from another machine: "
        "`sigrl checkpoint get tiny-clip --from FILE`" in err
    )
    brought = tmp_path / "brought.safetensors"
    status, _, err = sigrl("checkpoint", "get", "tiny-clip", "--from", brought)
    assert (status, "brought.safetensors is not there" in err) == (2, True)
    brought.write_bytes(weights)
    assert sigrl("checkpoint", "get", "tiny-clip", "--from", brought)[0] == 0
    assert brought.read_bytes() == weights
    assert (data_folder / "checkpoints" / "tiny-clip" / "manifest.json").is_file()
    assert hub.asked == []


def test_wrong_weights_are_rejected_and_the_download_is_kept(sigrl, hub: StandIn, data_folder: Path) -> None:
    hub.files[WEIGHTS] = save({"logit_scale": torch.ones([])})
    status, _, err = sigrl("checkpoint", "get", "tiny-clip")
    assert status == 2
    assert "the weights were not converted: the weights are not those of tiny-clip" in err.splitlines()[-1]
    assert (data_folder / "downloads" / "tiny-clip" / "random.safetensors").is_file()
    assert list((data_folder / "checkpoints").iterdir()) == []


def test_download_that_does_not_fit_on_disk_is_not_started(
    sigrl, hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    status, _, err = sigrl("checkpoint", "get", "tiny-clip")
    assert status == 2
    assert "are needed" in err
    assert {method for method, _, _ in hub.asked} == {"HEAD"}


def test_unknown_model_name_error_suggests_similar_names(sigrl) -> None:
    status, _, err = sigrl("checkpoint", "get", "siglip2-b16")
    assert status == 2
    assert "siglip2-b16-256" in err
    assert sigrl("checkpoint", "get")[0] == 2


@pytest.mark.usefixtures("hub")
def test_leftovers_of_a_killed_conversion_are_removed_before_the_room_is_checked(
    sigrl, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = data_folder / "checkpoints"
    bundles.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", KILLED, str(bundles)], check=False)
    assert list(bundles.glob("*/model.safetensors"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert sigrl("checkpoint", "get", "tiny-clip")[0] == 2
    assert list(bundles.iterdir()) == []
