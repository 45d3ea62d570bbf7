"""MKT's second stage: only the prompt is trained, and every label benefits."""

import json
import multiprocessing
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from sigrl.model.bundle import load_bundle
from sigrl.model.config import HeadConfig
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.training.data.batches import Draw
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.step import Optimization
from sigrl.training.measures.results import read_results
from sigrl.training.tasks.catalogue import load_run
from sigrl.training.tasks.nuswide.data import load_nuswide
from sigrl.training.tasks.nuswide.prompt_tuning import (
    PromptTuningConfig,
    create_task,
    fit_prompt,
    learn_prompt,
)

pytest.importorskip("h5py", reason="the extra `nuswide` is not installed")

from nuswide_files import changed, killed_at_write, write_dataset, write_start

PROMPT = "backbone.text.token_embedding.prompt"
MKT = HeadConfig(kind="mkt", form="published", top_k=2)
SIGRL = HeadConfig(kind="sigrl", form="published", top_k=2)
SHIPPED = Path(__file__).parents[4] / "training" / "configs" / "open_vocabulary" / "nuswide_prompts.yaml"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tokenizer_definition: bytes) -> PromptTuningConfig:
    directory = tmp_path_factory.mktemp("prompts")
    write_dataset(directory / "data")
    return PromptTuningConfig.model_validate(
        {
            "start": write_start(directory / "mkt", MKT, tokenizer_definition),
            "root": directory / "data",
            "held_out": 0.25,
            "learning_rate": 1e-1,
            "loop": {"epochs": 2, "batch_size": 4, "workers": 0, "log_every": 1, "save_every": 2},
        }
    )


@pytest.mark.parametrize("towers", ["sentences", "clip"])
def test_tuning_changes_only_the_prompt_and_affects_unseen_labels(
    config: PromptTuningConfig, towers: str, tmp_path: Path, tokenizer_definition: bytes
) -> None:
    tokenizer = tokenizer_definition if towers == "sentences" else None
    start = write_start(tmp_path / "start", MKT, tokenizer)
    outcome = fit_prompt(changed(config, start=start, loop={"precision": "bfloat16"}), tmp_path / "run")
    before, after = load_bundle(start), load_bundle(outcome.bundle)
    tensors, tuned = before.model.state_dict(), after.model.state_dict()
    assert tuned.keys() - tensors.keys() == {PROMPT}
    assert all(torch.equal(tuned[name], tensor) for name, tensor in tensors.items())
    assert after.manifest.backbone.learned_prompt
    assert after.manifest.head == before.manifest.head

    labels = Vocabulary(labels=("zebra", "red", Label(name="cat", prompts=("a {label}",)))).labels
    engines = [TorchEngine.load(path, "cpu", precision="float32") for path in (start, outcome.bundle)]
    plain, learned = (engine.encode_labels(Vocabulary(labels=labels)).label_embeddings for engine in engines)
    assert ((plain - learned).abs().amax(1) > 1e-4).tolist() == [True, True, False]


def test_bundle_scores_match_the_measured_results(config: PromptTuningConfig, tmp_path: Path) -> None:
    outcome = fit_prompt(config, tmp_path)
    assert read_results(tmp_path).measured == outcome.measured
    assert read_results(tmp_path).task == "prompt_tuning"
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum("seen/mAP" in line for line in lines) == 2
    data = load_nuswide(config)
    model = load_bundle(outcome.bundle).model
    names = Vocabulary.from_names(data.test.label_names).labels
    task = create_task(config, data, load_bundle(config.start), model)
    seen = len(data.train.label_names)
    # Encoding its own texts in one block, or as for any label, gives the same result.
    torch.testing.assert_close(
        task.module.label_embeddings(), model.backbone.encode_labels(names)[:seen], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("head", [MKT, SIGRL], ids=["mkt", "sigrl"])
def test_tuning_lowers_the_loss(
    config: PromptTuningConfig, head: HeadConfig, tmp_path: Path, tokenizer_definition: bytes
) -> None:
    start = load_bundle(write_start(tmp_path / "start", head, tokenizer_definition))
    task = create_task(config, load_nuswide(config), start, learn_prompt(start))
    optimization = Optimization(task, Accelerator(cpu=True), config.loop)
    drawn = [task.train_data[Draw(number, 0)] for number in range(4)]
    batch = [torch.stack(parts) for parts in zip(*drawn, strict=True)]
    losses = [optimization.step([batch], number, position=0)["loss"] for number in range(1, 16)]
    assert losses[-1] < losses[0] - 0.02


def test_learned_prompt_starts_as_the_template(config: PromptTuningConfig) -> None:
    start = load_bundle(config.start)
    labels = Vocabulary.from_names(("red", "a dog in the scene")).labels
    learned = learn_prompt(start).backbone.encode_labels(labels)
    torch.testing.assert_close(learned, start.model.backbone.encode_labels(labels), rtol=0, atol=1e-6)


def test_tuned_bundle_can_be_tuned_further(config: PromptTuningConfig, tmp_path: Path) -> None:
    first = fit_prompt(config, tmp_path / "first")
    again = changed(config, start=first.bundle, learning_rate=1e-9)
    second = fit_prompt(again, tmp_path / "second")
    prompts = [load_bundle(one.bundle).model.state_dict()[PROMPT] for one in (first, second)]
    torch.testing.assert_close(*prompts)


def test_killed_run_resumes_to_the_same_result(
    config: PromptTuningConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit() -> None:
        fit_prompt(config, tmp_path / "killed")

    arguments = (3, fit, monkeypatch)
    process = multiprocessing.get_context("fork").Process(target=killed_at_write, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    whole, resumed = fit_prompt(config, tmp_path / "whole"), fit_prompt(config, tmp_path / "killed")
    assert whole.measured == resumed.measured
    prompts = [load_bundle(one.bundle).model.state_dict()[PROMPT] for one in (whole, resumed)]
    assert torch.equal(*prompts)


def test_encoding_texts_in_blocks_gives_the_same_gradient(
    config: PromptTuningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, start = load_nuswide(config), load_bundle(config.start)
    task = create_task(config, data, start, learn_prompt(start))
    task.optimizer()
    gradients = []
    for most in (128, 1):
        monkeypatch.setattr("sigrl.training.tasks.nuswide.prompt_tuning.TEXT_BATCH", most)
        (task.module.label_embeddings() ** 3).sum().backward()
        gradients.append(task.module.prompt.grad.clone())
        task.module.prompt.grad = None
    torch.testing.assert_close(*gradients)


def test_bundles_that_cannot_be_tuned_are_rejected(
    config: PromptTuningConfig, tmp_path: Path, tokenizer_definition: bytes
) -> None:
    two = write_start(tmp_path / "two", MKT, tokenizer_definition, prompts=("a {label}", "the {label}"))
    with pytest.raises(DataError, match="averages 2 prompts"):
        fit_prompt(changed(config, start=two), tmp_path / "run")
    start = load_bundle(write_start(tmp_path / "clip", MKT, None))
    backbone = start.manifest.backbone
    by_number = backbone.model_copy(update={"text": {**backbone.text, "pool_type": "eos"}})
    manifest = start.manifest.model_copy(update={"backbone": by_number})
    with pytest.raises(DataError, match="cannot be tuned"):
        learn_prompt(replace(start, manifest=manifest))


def test_shipped_configuration_matches_the_published_settings() -> None:
    run = load_run(SHIPPED)
    assert run.name == "prompt_tuning"
    shipped = changed(run.config, loop={"precision": "float32"})
    assert shipped == PromptTuningConfig(start=shipped.start, root=shipped.root)
