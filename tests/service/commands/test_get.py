"""`sigrl checkpoint get`, from a stand-in for the hub to a server that answers with the bundle.

The conversion is the real one, in its own process; its architecture is a tiny one of a listed family, with
random weights.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hub.stand_in import StandIn, serving
from open_clip import create_model, factory
from PIL import Image
from safetensors.torch import save
from tiny_clips import make_clip, register_tiny_siglip
from two_checkpoints import serving as serving_app

from sigrl.service.app import create_app
from sigrl.service.hub import catalogue, download
from sigrl.service.hub.catalogue import Model
from sigrl.service.settings import Settings

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
MODEL = Model(
    name="tiny-clip",
    architecture="tiny-clip",
    tag="random",
    repository="someone/tiny-clip",
    parameters=(0.1, 0.4),
    resolution=64,
    languages="English",
    licence="none: random weights",
    source="https://example.com",
)
SIGLIP = MODEL.model_copy(
    update={
        "name": "tiny-siglip2",
        "architecture": "tiny-siglip2",
        "repository": "someone/tiny-siglip2",
        "tokenizer": "someone/tiny-siglip2",
        "languages": "many",
    }
)
WEIGHTS = "/someone/tiny-clip/resolve/main/open_clip_model.safetensors"
REGISTERS = f"""
import json
import sigrl.model.torchvision_cure
from open_clip import factory, pretrained
factory._MODEL_CONFIGS["tiny-clip"] = json.loads({json.dumps(json.dumps(CONFIG))})
of_hub = pretrained._pcfg(hf_hub="someone/tiny-clip/", quick_gelu=True)
pretrained._PRETRAINED["tiny-clip"] = {{"random": of_hub}}
"""


@pytest.fixture(scope="module")
def weights() -> bytes:
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        patch.setitem(factory._MODEL_CONFIGS, "tiny-clip", CONFIG)
        return save(create_model("tiny-clip").state_dict())


@pytest.fixture
def hub(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in, with its model in the list of `get` and in the open_clip of the conversion's process."""
    (tmp_path / "sitecustomize.py").write_text(REGISTERS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))
    monkeypatch.setattr(catalogue, "catalogue", lambda: (MODEL,))
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("sigrl.service.commands.activating._POLL_SECONDS", 0.01)
    with serving(StandIn({WEIGHTS: weights})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


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


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGRL_SERVER", "http://127.0.0.1:1")


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


def test_get_calibrates_and_activates_on_a_running_server(
    sigrl, hub: StandIn, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (70, 90), (12 * number, 100, 255 - 12 * number)).save(folder / f"{number}.jpg")
    with serving_app(create_app(Settings())) as client:
        monkeypatch.setenv("SIGRL_SERVER", str(client.base_url))
        status, _, err = sigrl("checkpoint", "get", "tiny-clip", "--photographs", folder, "--activate")
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


def test_photographs_for_a_model_that_is_there_are_not_ignored(
    sigrl, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "catalogue", lambda: (MODEL,))
    bundle, folder = data_folder / "checkpoints" / "tiny-clip", tmp_path / "my photographs"
    bundle.mkdir(parents=True)
    status, out, err = sigrl("checkpoint", "get", "tiny-clip", "--photographs", folder, "--activate")
    assert (status, out) == (2, "")
    assert f"sigrl-train calibrate {bundle} --photographs '{folder}' -o {bundle}-calibrated" in err
    assert "sigrl checkpoint load tiny-clip-calibrated --activate" in err


@pytest.mark.usefixtures("hub")
def test_leftovers_of_a_killed_conversion_are_removed_before_the_room_is_checked(
    sigrl, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = data_folder / "checkpoints" / ".unfinished-0123456789abcdef"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"gigabytes")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert sigrl("checkpoint", "get", "tiny-clip")[0] == 2
    assert list((data_folder / "checkpoints").iterdir()) == []


UNMEASURED = MODEL.model_copy(
    update={"name": "unmeasured", "repository": "someone/unmeasured", "source": "https://github.com/a/b/wiki"}
)
MEASURED = MODEL.model_copy(
    update={"imagenet": 71.5, "licence": "research only", "source": "https://github.com/maker/of-it"}
)


def rows(out: str) -> dict[str, str]:
    return {line.split()[0]: line for line in out.splitlines() if line}


def test_list_shows_sizes_published_results_and_their_sources(
    sigrl, hub: StandIn, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(catalogue, "catalogue", lambda: (MEASURED, UNMEASURED))
    status, out, err = sigrl("checkpoint", "get", "--list")
    assert status == 0, err
    measured, unmeasured = rows(out)["tiny-clip"], rows(out)["unmeasured"]
    assert f" {len(weights) / 1e6:.1f} MB" in measured
    assert "about" not in measured
    assert "71.5" in measured
    assert "research only" in measured
    assert " about 2.0 MB" in unmeasured
    assert "no figure" in unmeasured
    assert "none of it was measured here" in out
    assert "  https://github.com/maker/of-it: tiny-clip\n" in out
    assert "  https://github.com/a/b/wiki: unmeasured\n" in out
    assert f"{hub.address} did not state every size" in out


def test_list_without_a_network_says_that_sizes_are_estimates(sigrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    status, out, _ = sigrl("checkpoint", "get", "--list")
    assert status == 0
    row = rows(out)["mobileclip2-s0"]
    assert "71.5" in row
    assert " about 299.2 MB" in row
    assert "no figure" in rows(out)["metaclip2-h14"]
    assert "  https://github.com/apple/ml-mobileclip: mobileclip2-s0, mobileclip2-b\n" in out
    assert "http://127.0.0.1:1 did not state every size" in out
