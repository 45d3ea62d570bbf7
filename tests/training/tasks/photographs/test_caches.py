"""Features that are cached in several forms or not at all, and the plan of a run."""

from pathlib import Path

import numpy as np
import pytest
from own_photographs import changed, metrics

from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.config import HeadConfig
from sigrl.model.manifest import Description
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.data import load_own_data
from sigrl.training.tasks.photographs.plan import plan, plan_photographs
from sigrl.training.tasks.photographs.run import fit_photographs


@pytest.mark.parametrize("cache", ["int8", "none"])
def test_smaller_or_no_feature_caches_give_similar_results(
    config: PhotographsConfig, tmp_path: Path, cache: str
) -> None:
    kept = fit_photographs(config, tmp_path / "float16")
    other = fit_photographs(changed(config, cache=cache), tmp_path / cache)
    assert (tmp_path / cache / "features").exists() == (cache != "none")
    for name, value in kept.measured.items():
        assert other.measured[name] == pytest.approx(value, abs=5)
    before, after = (
        [line["loss"] for line in metrics(tmp_path / name) if "loss" in line] for name in ("float16", cache)
    )
    # The rounding of the features and of the tower's bfloat16.
    np.testing.assert_allclose(after, before, rtol=0.05)


def test_without_a_cache_decoding_workers_do_not_change_the_training(
    config: PhotographsConfig, tmp_path: Path
) -> None:
    for workers in (0, 2):
        run = changed(config, cache="none", loop={"workers": workers, "epochs": 2})
        fit_photographs(run, tmp_path / str(workers))
    assert metrics(tmp_path / "2") == metrics(tmp_path / "0")


def test_cached_features_depend_on_cache_form_and_head(
    config: PhotographsConfig, tiny_description: Description, tokenizer_definition: bytes, tmp_path: Path
) -> None:
    """All patches, means of squares of them, or none for a head that matches whole photographs alone."""
    description = tiny_description.model_copy(update={"head": HeadConfig(kind="clip")})
    model = TaggingModel(description.backbone, description.head, tokenizer_definition)
    save_bundle(tmp_path / "start", description, model.state_dict(), tokenizer_definition)
    runs = {
        "whole": config,
        "pooled": changed(config, cache="pooled"),
        "clip": changed(config, start=tmp_path / "start"),
    }
    for name, run in runs.items():
        fit_photographs(run, tmp_path / name)
        losses = [line["loss"] for line in metrics(tmp_path / name) if "loss" in line]
        assert losses[-1] < losses[0]
    kept = {
        name: {np.load(path, mmap_mode="r").shape for path in (tmp_path / name / "features").glob("*/*.npy")}
        for name in runs
    }
    training, validation, width = 34, 6, 256
    assert kept == {
        "whole": {(training, 2, 1 + 4, width), (validation, 1, 1 + 4, width)},
        "pooled": {(training, 2, 1 + 1, width), (validation, 1, 1 + 4, width)},
        "clip": {(training, 2, 1, width), (validation, 1, 1, width)},
    }


@pytest.mark.parametrize("cache", ["float16", "int8", "pooled", "none"])
def test_plan_reports_images_steps_and_duration(
    config: PhotographsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    config = changed(config, cache=cache)
    monkeypatch.chdir(tmp_path)
    planned = plan(config)
    assert not list(tmp_path.iterdir())
    assert planned.training_seconds > 0
    photographs, steps, took, disk = plan_photographs(config, tmp_path / "run")
    fit_photographs(config, tmp_path / "run")
    data = load_own_data(config)
    assert (planned.training, planned.validation) == (len(data.train), len(data.validation))
    assert photographs.startswith(f"photographs: {len(data.train)} to train on, {len(data.validation)} to")
    assert planned.steps == metrics(tmp_path / "run")[-1]["step"]
    assert f"steps: {planned.steps} in 4 epochs of {planned.steps // 4}" in steps
    assert "minutes" in took
    assert "free" in disk
    arrays = [np.load(path, mmap_mode="r") for path in (tmp_path / "run").glob("features/*/*.npy")]
    assert planned.feature_bytes == sum(array.nbytes for array in arrays)
    written = sum(path.stat().st_size for path in (tmp_path / "run").glob("*.safetensors"))
    assert planned.other_bytes > written > 0
