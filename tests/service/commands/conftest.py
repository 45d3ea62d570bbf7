"""What the tests of `sigrl checkpoint get` share: a hub that has one tiny model."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub.listed import CONFIG, MODEL, WEIGHTS
from hub.stand_in import StandIn, serving
from open_clip import create_model, factory
from safetensors.torch import save

from sigrl.service.hub import catalogue, download

REGISTERS = f"""
import json
import sigrl.model.torchvision_cure
from open_clip import factory, pretrained
factory._MODEL_CONFIGS["tiny-clip"] = json.loads({json.dumps(json.dumps(CONFIG))})
of_hub = pretrained._pcfg(hf_hub="someone/tiny-clip/", quick_gelu=True)
pretrained._PRETRAINED["tiny-clip"] = {{"random": of_hub}}
"""


@pytest.fixture(scope="session")
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
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGRL_SERVER", "http://127.0.0.1:1")
