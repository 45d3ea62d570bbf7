"""Your own photographs, end to end with towers of a few thousand weights."""

import io
import json
import multiprocessing
import os
import shutil
import signal
import socket
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw
from pydantic import ValidationError

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
from sigrl.training.tasks.photographs import bundle as photographs_run
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.data import check_photographs, held_out_photographs, load_own_data
from sigrl.training.tasks.photographs.plan import plan, plan_photographs
from sigrl.training.tasks.photographs.run import fit_photographs

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (30, 30, 240)}
PHOTOGRAPHS = 40


@pytest.fixture(autouse=True)
def _as_a_program_with_few_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(photographs_run, "NAMES", 24)
    yield
    AcceleratorState._reset_state(True)


def write_photographs(folder: Path) -> list[dict[str, Any]]:
    """Each photograph shows some of three colours, which its line of labels names."""
    random = np.random.RandomState(0)
    folder.mkdir()
    lines = []
    for number in range(PHOTOGRAPHS):
        image = Image.new("RGB", (64, 48))
        holds = random.rand(3) < 0.5
        for place, colour in enumerate(COLOURS.values()):
            if holds[place]:
                ImageDraw.Draw(image).rectangle((22 * place, 4, 22 * place + 18, 44), fill=colour)
        name = f"{number:02}.jpg"
        image.save(folder / name)
        said = [
            [one for one, held in zip(COLOURS, holds, strict=True) if held == wanted]
            for wanted in (True, False)
        ]
        lines.append({"image": name, "positive": said[0], "negative": said[1]})
    return lines


def write_labels(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A folder and its lines of labels. Shared by all tests: do not change it."""
    root = tmp_path_factory.mktemp("own")
    lines = write_photographs(root / "photographs")
    write_labels(root / "labels.jsonl", lines)
    return root, lines


@pytest.fixture
def config(own_data: tuple[Path, list[dict[str, Any]]], tiny_bundle: Path) -> PhotographsConfig:
    root, _ = own_data
    return PhotographsConfig.model_validate(
        {
            "start": tiny_bundle,
            "photographs": root / "photographs",
            "labels": root / "labels.jsonl",
            "validation_share": 0.3,
            "learning_rate": 1e-2,
            "remember": 0.1,
            "loop": {"epochs": 4, "batch_size": 8, "log_every": 1, "save_every": 2, "workers": 0},
        }
    )


def changed(config: PhotographsConfig, **changes: Any) -> PhotographsConfig:
    loop = {**config.loop.model_dump(), **changes.pop("loop", {})}
    return PhotographsConfig.model_validate({**config.model_dump(), **changes, "loop": loop})


def metrics(directory: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return lines


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


def test_two_processes_give_the_same_result_as_one(
    config: PhotographsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is set as by torchrun."""
    short = changed(config, loop={"epochs": 2})

    def fit_as(rank: int) -> None:
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2}.items():
            monkeypatch.setenv(name, str(value))
        fit_photographs(short, tmp_path / "two")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=fit_as, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    fit_photographs(short, tmp_path / "one")
    one, two = (load_bundle(tmp_path / name / "bundle").model.state_dict() for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-3, rtol=2e-3, msg=name)


def broken_copy(own_data: tuple[Path, list[dict[str, Any]]], root: Path) -> list[dict[str, Any]]:
    """The same with a missing and a corrupt file among the training photographs."""
    (root / "photographs").mkdir()
    for path in (own_data[0] / "photographs").iterdir():
        (root / "photographs" / path.name).write_bytes(path.read_bytes())
    (root / "photographs" / "01.jpg").unlink()
    (root / "photographs" / "03.jpg").write_bytes(b"\xff\xd8 cut off")
    return [dict(line) for line in own_data[1]]


def test_bad_data_stops_training_or_is_skipped_and_counted(
    config: PhotographsConfig, own_data: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    lines = broken_copy(own_data, tmp_path)
    lines[4] = {**lines[4], "positive": [*lines[4]["positive"], "violet"]}
    lines[5] = {**lines[5], "positive": ["red"], "negative": ["red"]}
    source = {
        "photographs": tmp_path / "photographs",
        "labels": write_labels(tmp_path / "labels.jsonl", lines),
        "vocabulary": [*COLOURS, "unicorn"],
    }
    broken = changed(config, **source)
    found = check_photographs(broken)["train"]
    assert {kind: sum(counts.values()) for kind, counts in found.counts().items()} == {
        "label outside the vocabulary": 1,
        "contradictory labels": 1,
        "missing file": 1,
        "unreadable file": 1,
    }
    assert [one.label for one in found.labels if one.positive == 0] == ["unicorn"]
    with pytest.raises(DataError, match=r"labels\.jsonl:5: 'violet' .* \(3 other problems"):
        fit_photographs(broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    data = load_own_data(changed(broken, bad_data="skip"))
    assert data.skipped == {
        "label outside the vocabulary": 1,
        "contradictory labels": 1,
        "missing file": 1,
        "unreadable file": 1,
        "label without photographs": 1,
    }
    assert data.train.label_names == data.validation.label_names == data.vocabulary.names == tuple(COLOURS)
    assert len(data.train) + len(data.validation) == PHOTOGRAPHS - 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"1.jpg": b""}, r"01\.jpg cannot be decoded"),
        ({"1.jpg": None}, r"01\.jpg is not there: complete the folder"),
    ],
)
def test_bad_file_is_reported_with_advice(
    config: PhotographsConfig,
    own_data: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    change: dict[str, bytes | None],
    message: str,
) -> None:
    lines = broken_copy(own_data, tmp_path)
    (tmp_path / "photographs" / "03.jpg").write_bytes((own_data[0] / "photographs" / "03.jpg").read_bytes())
    for content in change.values():
        if content is not None:
            (tmp_path / "photographs" / "01.jpg").write_bytes(content)
    labels = write_labels(tmp_path / "labels.jsonl", lines)
    with pytest.raises(DataError, match=message):
        load_own_data(changed(config, photographs=tmp_path / "photographs", labels=labels))


def test_label_without_images_is_reported(config: PhotographsConfig) -> None:
    with pytest.raises(DataError, match=r"'unicorn' applies to no photograph .*: add photographs of it"):
        load_own_data(changed(config, vocabulary=[*COLOURS, "unicorn"]))


def test_synonyms_are_read_as_their_label_and_kept(
    config: PhotographsConfig, own_data: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    lines = [dict(line) for line in own_data[1]]
    for line in lines[::2]:
        line["positive"] = [{"red": "Scarlet"}.get(name, name) for name in line["positive"]]
    labels = write_labels(tmp_path / "labels.jsonl", lines)
    vocabulary = [{"name": "red", "synonyms": ["scarlet"]}, "green", "blue"]
    data = load_own_data(changed(config, labels=labels, vocabulary=vocabulary))
    plain = load_own_data(changed(config, vocabulary=list(COLOURS)))
    np.testing.assert_array_equal(data.train.labels, plain.train.labels)
    assert data.vocabulary.labels[0].synonyms == ("scarlet",)


def test_separate_validation_file_must_not_share_images(
    config: PhotographsConfig, own_data: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    lines = own_data[1]
    train, validation = (
        write_labels(tmp_path / name, some)
        for name, some in (("a.jsonl", lines[:30]), ("b.jsonl", lines[30:]))
    )
    data = load_own_data(changed(config, labels=train, validation=str(validation)))
    assert (len(data.train), len(data.validation)) == (30, PHOTOGRAPHS - 30)
    with pytest.raises(DataError, match=r"00\.jpg is in both the training and the validation part"):
        load_own_data(changed(config, validation=str(config.labels)))


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photographs": None, "labels": None}, "name the data"),
        ({"shards": "x.tar"}, "name the data"),
        ({"photographs": None, "shards": "x.tar"}, "remove `labels`"),
        ({"warm_up_epochs": 9}, "less than"),
    ],
)
def test_contradictory_keys_are_rejected(
    config: PhotographsConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        changed(config, **changes)


def test_check_warns_of_likely_mistakes_in_the_data(tmp_path: Path, tiny_bundle: Path) -> None:
    """An empty folder, a label with one photograph, and one photograph in two folders."""
    for number, name in enumerate(("dog", "dog", "cat", "cat", "otter")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (40 * number, 0, 0)).save(tmp_path / name / f"{number}.png")
    (tmp_path / "yak").mkdir()
    shutil.copy(tmp_path / "dog" / "0.png", tmp_path / "cat" / "same.png")
    config = PhotographsConfig(start=tiny_bundle, photographs=tmp_path, complete=True)
    report = check_photographs(config)["train"]
    single, empty = report.warnings
    assert "labels with a single photograph" in single
    assert "'otter'" in single
    assert "'yak' has no photographs" in empty
    (copy,) = report.copies
    assert {Path(copy.subject).parent.name} <= {"cat", "dog"}
    assert "other labels" in copy.kind


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
