"""Your own photographs, end to end with towers of a few thousand weights."""

import io
import json
import multiprocessing
import os
import signal
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from fresh_processes import in_fresh_processes
from own_photographs import COLOURS, PHOTOGRAPHS, changed, metrics

from sigrl.model.bundle import TaggingModel, load_bundle, save_bundle
from sigrl.model.bundle_files import has_graphs
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import Description
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.dataset import DataError
from sigrl.training.loop import state as run_state
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.data import held_out_photographs, load_own_data
from sigrl.training.tasks.photographs.run import fit_photographs


@pytest.mark.usefixtures("graphs")
def test_fitted_checkpoint_improves_on_its_start_and_can_be_served(
    config: PhotographsConfig, tmp_path: Path
) -> None:
    outcome = fit_photographs(changed(config, loop={"epochs": 8}), tmp_path)
    assert outcome.measured["validation/mAP"] > outcome.measured["start/mAP"] + 10
    assert outcome.bundle == tmp_path / "bundle"
    assert has_graphs(outcome.bundle)
    manifest = load_bundle(outcome.bundle).manifest
    assert manifest.provenance["metrics"] == outcome.measured
    assert manifest.provenance["labels"].keys() == COLOURS.keys()
    settings = Settings(
        keys="off",
        checkpoint=outcome.bundle,
        vocabulary=str(tmp_path / "vocabulary.json"),
        precision="float32",
    )
    photograph = (config.photographs / "00.jpg").read_bytes()
    headers = {"Content-Type": "image/jpeg"}
    with TestClient(create_app(settings)) as client:
        answer = client.post("/v1/tag", content=photograph, headers=headers, params={"top_k": 3})
    assert answer.status_code == 200
    (image,) = answer.json()["images"]
    assert {tag["label"] for tag in image["tags"]} == COLOURS.keys()


def test_tower_features_are_computed_once(
    config: PhotographsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_photographs(config, tmp_path)
    monkeypatch.setattr(
        "sigrl.training.backbones.feature_cache._run", lambda *_: pytest.fail("computed again")
    )
    fit_photographs(config, tmp_path)


def test_remember_option_limits_drift_of_other_names(config: PhotographsConfig, tmp_path: Path) -> None:
    def drift(name: str, remember: float) -> float:
        run = changed(config, remember=remember, loop={"epochs": 3})
        bundle = fit_photographs(run, tmp_path / name).bundle
        assert bundle is not None
        scores = []
        for path in (config.start, bundle):
            engine = TorchEngine.load(path, device="cpu", precision="float32")
            vocabulary = Vocabulary.from_names(["dog", "house", "tall tree"])
            pixels = [
                read_photograph(path, engine.preprocessing) for path in held_out_photographs(run).image_paths
            ]
            scores.append(
                engine.score(engine.encode_images(np.stack(pixels)), engine.encode_labels(vocabulary))
            )
        return float(np.abs(scores[1] - scores[0]).mean())

    assert drift("remembered", 5.0) < 0.5 * drift("forgotten", 0.0)


def test_frozen_tower_run_changes_only_projection_and_head(config: PhotographsConfig, tmp_path: Path) -> None:
    bundle = fit_photographs(changed(config, loop={"epochs": 1}, warm_up_epochs=0), tmp_path).bundle
    assert bundle is not None
    before, after = (load_bundle(path).model.state_dict() for path in (config.start, bundle))
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == {
        "backbone.visual.head.proj.weight",
        *("head.log_global_scale", "head.log_local_scale", "head.bias"),
    }


def test_tuned_tower_is_trained_with_fixed_batch_norm_statistics(
    config: PhotographsConfig, tmp_path: Path
) -> None:
    tuned = changed(config, tower="tuned", tower_learning_rate=1e-3, loop={"epochs": 1}, warm_up_epochs=0)
    outcome = fit_photographs(tuned, tmp_path)
    assert outcome.bundle is not None
    before, after = (load_bundle(path).model.state_dict() for path in (config.start, outcome.bundle))
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert "backbone.visual.trunk.conv_stem.weight" in moved
    assert not {name for name in moved if "running_" in name or name.startswith("backbone.text.")}


def killed_while_saving(config: PhotographsConfig, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        original(source, target)

    monkeypatch.setattr(run_state.os, "replace", replace)
    fit_photographs(config, directory)


def test_killed_run_resumes_to_the_same_result(
    config: PhotographsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=killed_while_saving, args=(config, tmp_path / "killed", monkeypatch)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    whole, resumed = (fit_photographs(config, tmp_path / name) for name in ("whole", "killed"))
    assert whole.measured == resumed.measured
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "killed")
    weights = [load_bundle(tmp_path / name / "bundle").model.state_dict() for name in ("whole", "killed")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_two_processes_give_the_same_result_as_one(config: PhotographsConfig, tmp_path: Path) -> None:
    """The one process is fresh too, because this one has fewer names to remember."""
    short = changed(config, loop={"epochs": 2})
    in_fresh_processes(2, fit_photographs, short, tmp_path / "two")
    in_fresh_processes(1, fit_photographs, short, tmp_path / "one")
    one, two = (load_bundle(tmp_path / name / "bundle").model.state_dict() for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-3, rtol=2e-3, msg=name)


def test_training_on_shards_matches_training_on_a_folder(
    config: PhotographsConfig, own_data: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    root, lines = own_data
    for shard in (0, 1):
        with tarfile.open(tmp_path / f"own-{shard}.tar", "w") as file:
            for line in lines[shard::2]:
                file.add(root / "photographs" / line["image"], line["image"])
                said = json.dumps({key: line[key] for key in ("positive", "negative")}).encode()
                entry = tarfile.TarInfo(line["image"].replace(".jpg", ".json"))
                entry.size = len(said)
                file.addfile(entry, io.BytesIO(said))
    pattern = str(tmp_path / "own-{0..1}.tar")
    shards = changed(config, photographs=None, labels=None, shards=pattern, loop={"epochs": 2})
    outcome = fit_photographs(shards, tmp_path / "run")
    assert outcome.measured.keys() == {"start/mAP", "validation/mAP"}
    assert (
        sum(len(part) for part in (load_own_data(shards).train, load_own_data(shards).validation))
        == PHOTOGRAPHS
    )


def test_head_in_published_form_is_rejected(
    config: PhotographsConfig, tiny_description: Description, tokenizer_definition: bytes, tmp_path: Path
) -> None:
    description = tiny_description.model_copy(update={"head": HeadConfig(kind="clip", form="published")})
    model = TaggingModel(description.backbone, description.head, tokenizer_definition)
    save_bundle(tmp_path / "published", description, model.state_dict(), tokenizer_definition)
    with pytest.raises(DataError, match="in the published form"):
        fit_photographs(changed(config, start=tmp_path / "published"), tmp_path / "run")
