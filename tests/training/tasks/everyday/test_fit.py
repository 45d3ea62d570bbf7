"""The whole task on tiny data ends with a bundle that the engine loads."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from sigrl.model.backbone import Backbone
from sigrl.model.bundle import load_bundle
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.features import pool_tokens
from sigrl.model.manifest import Description
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.model.word_tower import TunedBlocks
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.state import read_state
from sigrl.training.measures.results import RESULTS, read_results
from sigrl.training.tasks.bundled.config import DataConfig, FitConfig, PretrainConfig, TrainingConfig
from sigrl.training.tasks.bundled.recipe import check_towers
from sigrl.training.tasks.bundled.towers import tower_outputs
from sigrl.training.tasks.everyday.assemble import save_towers, tuned_weights
from sigrl.training.tasks.everyday.config import EverydayConfig, LeftOutConfig
from sigrl.training.tasks.everyday.draft import background_rows, frequent_words, lexicon, make_draft
from sigrl.training.tasks.everyday.fit import BUNDLE, fit
from sigrl.training.tasks.everyday.left_out import LEFT_OUT, draw_words
from sigrl.training.tasks.everyday.network import LastBlocks
from sigrl.training.tasks.everyday.run import train
from sigrl.training.tasks.everyday.start import Start
from sigrl.training.tasks.everyday.trained import PARTS, keep_photographs, known_labels

Config = Callable[..., EverydayConfig]
TRUNK = "tf_efficientnet_lite0"


@pytest.fixture
def start(tiny_description: Description, tokenizer_definition: bytes) -> Start:
    """An EfficientNet-Lite with random weights, because a word tower accepts no other tower."""
    config = BackboneConfig(
        embed_dim=16,
        vision={"timm_model_name": TRUNK, "image_size": 64},
        sentence_encoder=tiny_description.backbone.sentence_encoder,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        backbone = Backbone(config, tokenizer_definition).eval()
        torch.nn.init.normal_(backbone.text.position_embedding)
        weight = torch.randn(1000, backbone.visual.trunk.num_features)
    return Start(backbone, (weight, torch.zeros(1000)), tokenizer_definition)


@pytest.fixture
def left_out() -> LeftOutConfig:
    return LeftOutConfig(count=3, coco=("dog",), steps=2)


def test_run_writes_a_bundle_with_metrics_and_provenance(
    everyday: Config,
    start: Start,
    left_out: LeftOutConfig,
    tmp_path: Path,
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sigrl.training.tasks.everyday.fit.default_threshold", lambda _: 0.61)
    config = everyday(left_out=left_out)
    outcome = fit(config, tmp_path, start)
    assert outcome.bundle == tmp_path / BUNDLE
    assert {"known words, mAP", "left-out words, mAP", "left-out words, ECE", "head, F1"} <= set(
        outcome.measured
    )
    assert read_results(tmp_path).measured == outcome.measured

    engine = TorchEngine.load(outcome.bundle, precision="float32")
    assert engine.default_threshold == 0.61
    provenance = engine.manifest.provenance
    assert provenance["metrics"] == outcome.measured
    # "puppy" is narrower than a COCO label that is left out.
    assert {"dog", "puppy"} < set(provenance["new_words"]["left_out"])
    assert provenance["background"] == {"coco_course": 5, "scenes": 6}
    assert {row["source"] for row in provenance["sources"]} >= {"everyday", "coco", "scenes"}
    assert provenance["configuration"]["left_out"]["seed"] == 7
    blind = load_bundle(tmp_path / LEFT_OUT / BUNDLE)
    assert {"dog", "puppy"} < set(blind.manifest.provenance["hidden_words"])
    assert blind.manifest.head.kind == "mkt"
    vocabulary = Vocabulary(labels=tuple(Label(name=name) for name in ("person", "tree", "red bridge")))
    labels = engine.encode_labels(vocabulary)
    photograph = folders / "everyday" / "photographs" / "T0.jpg"
    pixel_values = read_photograph(photograph, engine.preprocessing)[None]
    scores = engine.score(engine.encode_images(pixel_values), labels)
    assert scores.shape == (1, 3)
    assert np.isfinite(scores).all()


def test_saved_towers_can_be_used_to_compare_other_heads(
    everyday: Config, start: Start, tmp_path: Path, folders: Path
) -> None:
    trained = train(everyday(hidden_words=("dog",)), tmp_path / "run", start)
    preprocessing = trained.config.preprocessing
    bundle = save_towers(trained, make_draft(trained).words, tmp_path / "towers")
    backbone = bundle.model.backbone
    pretrain = PretrainConfig(backbone=backbone.config, preprocessing=preprocessing)
    photograph = folders / "everyday" / "photographs" / "T0.jpg"
    outputs = tower_outputs(backbone, [photograph], pretrain, tmp_path / "cache")
    pixel_values = read_photograph(photograph, preprocessing)[None]
    with torch.inference_mode():
        seen = backbone.encode_images(torch.from_numpy(pixel_values))
    pooled = pool_tokens(seen.patch_tokens.numpy(), seen.grid)
    expected = torch.cat([seen.image_embeddings[:, None], torch.from_numpy(pooled)], dim=1)
    assert (outputs.float() - expected).abs().max() < 0.05 * expected.abs().max()

    def asking(*hidden: str) -> TrainingConfig:
        data = DataConfig(root=folders, hidden_labels=hidden)
        return TrainingConfig(data=data, pretrain=pretrain, fit=FitConfig(head=HeadConfig(kind="mkt")))

    check_towers(bundle, tmp_path, asking("dog"))
    with pytest.raises(DataError, match=r"trained on labels that the configuration hides \(person\)"):
        check_towers(bundle, tmp_path, asking("dog", "person"))


def test_bundle_tower_matches_the_features_used_for_fitting(
    everyday: Config, start: Start, tmp_path: Path
) -> None:
    config = everyday()
    bundle = fit(config, tmp_path, start).bundle
    assert bundle is not None
    trained = train(config, tmp_path, start)
    draft = make_draft(trained)
    row = next(n for n, one in enumerate(trained.photographs) if one.path.name == "T0.jpg")
    kept = keep_photographs(trained, np.array([row]), draft.words)
    model = load_bundle(bundle).model
    pixel_values = read_photograph(trained.photographs[row].path, trained.config.preprocessing)[None]
    with torch.inference_mode():
        seen = model.backbone.encode_images(torch.from_numpy(pixel_values))
    embeddings, tokens, logits = kept.restored(slice(None))
    pooled = pool_tokens(seen.patch_tokens.numpy(), seen.grid)
    for found, expected in (
        (seen.word_logits.numpy(), logits),
        (seen.image_embeddings.numpy(), embeddings),
        (pooled, tokens),
    ):
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_without_left_out_training_new_words_get_default_weights(
    everyday: Config, start: Start, tmp_path: Path
) -> None:
    outcome = fit(everyday(), tmp_path, start)
    assert not (tmp_path / LEFT_OUT).exists()
    manifest = json.loads((tmp_path / BUNDLE / "manifest.json").read_text())
    assert "default weights" in manifest["provenance"]["new_words"]
    assert not any(name.startswith("left-out") for name in outcome.measured)


def test_finished_run_is_not_repeated(
    everyday: Config, start: Start, left_out: LeftOutConfig, tmp_path: Path
) -> None:
    first = fit(everyday(), tmp_path, start)
    written = (tmp_path / BUNDLE / "manifest.json").stat().st_mtime_ns
    assert fit(everyday(threads=2), tmp_path, start) == first
    assert (tmp_path / BUNDLE / "manifest.json").stat().st_mtime_ns == written
    with pytest.raises(DataError, match="another configuration"):
        fit(everyday(left_out=left_out), tmp_path, start)


def test_run_interrupted_before_its_bundle_resumes_to_the_same_bundle(
    everyday: Config, start: Start, left_out: LeftOutConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = everyday(left_out=left_out)
    whole = fit(config, tmp_path / "whole", start).bundle

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sigrl.training.tasks.everyday.fit.fit_left_out", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(config, tmp_path / "parted", start)
    assert not (tmp_path / "parted" / RESULTS).exists()
    state = tmp_path / "parted" / LEFT_OUT / "state.safetensors"
    before = state.stat().st_mtime_ns
    parted = fit(config, tmp_path / "parted", start).bundle
    assert state.stat().st_mtime_ns == before
    assert whole is not None
    assert parted is not None
    assert (whole / "manifest.json").read_bytes() == (parted / "manifest.json").read_bytes()


def test_left_out_words_are_in_no_target_and_those_of_coco_in_no_text(
    everyday: Config, start: Start, left_out: LeftOutConfig, tmp_path: Path
) -> None:
    fit(everyday(left_out=left_out), tmp_path, start)
    _, content = read_state(tmp_path / LEFT_OUT / PARTS)
    hidden = set(content["hidden"])
    trained = train(everyday(), tmp_path / "again", start)
    assert hidden == {"dog", "puppy", *draw_words(trained, left_out)}
    config = everyday(hidden_words=tuple(hidden - {"dog", "puppy"}), hidden_coco=("dog",))
    second = train(config, tmp_path / "second", start)
    names = np.array(second.targets.known_words)
    assert not hidden & set(names[frequent_words(second)])
    # Captions may name the drawn words, as they may name a word that a user asks for.
    assert not {"dog", "puppy"} & set(lexicon(second)[0])
    # The labels for evaluation still include the hidden words.
    rows = np.array([n for n, one in enumerate(second.photographs) if one.path.name == "T1.jpg"])
    assert known_labels(second, rows)[0, names.tolist().index("dog")] == 1


def test_too_few_names_are_an_error(everyday: Config, start: Start, tmp_path: Path) -> None:
    trained = train(everyday(), tmp_path, start)
    with pytest.raises(DataError, match="can be left out"):
        draw_words(trained, LeftOutConfig(count=100))


def test_words_with_few_images_have_no_logit(everyday: Config, start: Start, tmp_path: Path) -> None:
    trained = train(everyday(), tmp_path, start)
    names = np.array(trained.targets.known_words)
    few = {"dense": 2, "others": 9}
    counted = trained.targets.known[trained.trained_on] > 0
    dense = np.array([one.dense for one in trained.photographs])[trained.trained_on]
    expected = (counted[dense].sum(0) >= 2) | (counted[~dense].sum(0) >= 9)
    config = everyday(known_words=few)
    found = frequent_words(train(config, tmp_path, start))
    assert set(names[found]) == set(names[expected])
    assert 0 < len(found) < len(names)


def test_background_images_are_drawn_from_the_training_data(
    everyday: Config, start: Start, tmp_path: Path
) -> None:
    trained = train(everyday(), tmp_path, start)
    rows = background_rows(trained)
    assert len(rows) == 5 + 6
    assert trained.trained_on[rows].all()
    with pytest.raises(DataError, match="background"):
        background_rows(train(everyday(background={"houses": 3}), tmp_path, start))


@pytest.mark.parametrize("count", [1, 3])
def test_tuned_blocks_match_the_trained_blocks(count: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = timm.create_model(TRUNK, num_classes=0).eval()
        maps = torch.randn(2, 192, 4, 4)
    blocks, tuned = LastBlocks(trunk, count), TunedBlocks(trunk, count)
    tuned.load_state_dict(tuned_weights(blocks))
    with torch.inference_mode():
        torch.testing.assert_close(tuned(maps), blocks(maps), rtol=1e-4, atol=1e-5)
