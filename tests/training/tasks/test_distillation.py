"""`sigrl-train distill`: a small tower learns from a bundle, on photographs without labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from sigrl.model.bundle import TaggingModel, load_bundle, save_bundle
from sigrl.model.bundle_files import read_files, write_files
from sigrl.model.config import EvidenceConfig, HeadConfig, WordTowerConfig
from sigrl.model.evidence_arrays import shapes
from sigrl.model.features import pool_tokens
from sigrl.model.kept_features import keep
from sigrl.model.manifest import Description
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.batches import Draw, seeded
from sigrl.training.tasks.distillation import photographs, run
from sigrl.training.tasks.distillation.start import ridge
from sigrl.training.tasks.distillation.student import Student
from sigrl.training.tasks.everyday.assemble import assemble
from sigrl.training.tasks.everyday.frozen_features import torch_tower

pytestmark = pytest.mark.usefixtures("pretrain_packages", "graphs")
PHOTOGRAPHS = 72
EVIDENCE = EvidenceConfig(known_words=(("dog",), ("cat",), ("tree",)), class_texts=4, lexicon=3, rank=2)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO takes seconds to compile a tower."""
    monkeypatch.setattr(photographs, "fastest", lambda tower, _: torch_tower(tower))
    monkeypatch.setattr(run, "NAMES", 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of coloured patches."""
    found = tmp_path_factory.mktemp("library")
    for number in range(PHOTOGRAPHS):
        patches = np.random.default_rng(number).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(patches).resize((80, 64), Image.Resampling.BILINEAR).save(found / f"{number}.jpg")
    return found


@pytest.fixture(scope="module")
def word_tower(
    tmp_path_factory: pytest.TempPathFactory, tiny_description: Description, tokenizer_definition: bytes
) -> Path:
    """A word tower of random weights with an evidence head of random arrays."""
    changes = {
        "vision": {"timm_model_name": "tf_efficientnet_lite0", "image_size": 128},
        "words": WordTowerConfig(words=3, hidden=16),
    }
    backbone = tiny_description.backbone.model_copy(update=changes)
    random = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        model = TaggingModel(backbone, HeadConfig(kind="mkt", top_k=2), tokenizer_definition).eval()
        found = model.backbone.encode_images(torch.randn(24, 3, 128, 128))
    arrays = {
        name: (0.1 * random.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes(EVIDENCE, backbone.embed_dim).items()
    }
    arrays |= {"class_rows": np.arange(4, dtype=np.float32)}
    arrays |= {"feature_deviation": np.ones_like(arrays["feature_deviation"])}
    tokens = pool_tokens(found.patch_tokens.numpy(), found.grid)
    background = keep(found.image_embeddings.numpy(), tokens, found.word_logits.numpy())
    preprocessing = tiny_description.preprocessing.model_copy(update={"image_size": 128})
    directory = tmp_path_factory.mktemp("bundles") / "words"
    write_files(
        directory,
        assemble(model, backbone, tokenizer_definition, EVIDENCE, arrays, background, preprocessing, 0.5, {}),
    )
    return directory


@pytest.fixture(params=["towers", "word_tower"])
def teacher(request: pytest.FixtureRequest) -> Path:
    """A teacher without words of its own, and one with them."""
    return request.getfixturevalue(request.param)


def test_a_student_is_served_in_its_teachers_place(
    sigrl_train: Callable, teacher: Path, folder: Path, tmp_path: Path
) -> None:
    asked = ("distill", teacher, folder, "-o", tmp_path / "run", "--pixels", 128, "--epochs", 2)
    status, out, err = sigrl_train(*asked)
    assert status == 0, err
    assert "serve it:" in out
    bundle = tmp_path / "run" / "bundle"
    manifest, given = read_files(bundle).manifest, read_files(teacher).manifest
    assert manifest.head == given.head
    assert manifest.provenance["distillation"]["teacher"] == read_files(teacher).checkpoint_id
    assert manifest.calibration is not None
    assert not (tmp_path / "run" / "features").exists()
    engine, graphs = TorchEngine.load(bundle, "cpu", precision="float32"), OnnxEngine.load(bundle)
    pixels = np.random.default_rng(1).standard_normal((2, 3, 128, 128), dtype=np.float32)
    words = Vocabulary.from_names(("dog", "a word that nobody trained"))
    expected = TorchEngine.load(teacher, "cpu", precision="float32").encode_labels(words)
    np.testing.assert_array_equal(
        engine.label_embeddings(engine.encode_labels(words)),
        TorchEngine.load(teacher, "cpu", precision="float32").label_embeddings(expected),
    )
    scores = [one.score(one.encode_images(pixels), one.encode_labels(words)) for one in (engine, graphs)]
    np.testing.assert_allclose(*scores, atol=1e-3)
    status, _, err = sigrl_train(*asked)
    assert (status, "exists" in err) == (2, True)


def test_training_brings_the_student_nearer_to_its_teacher(
    word_tower: Path, folder: Path, tmp_path: Path
) -> None:
    asked = run.Distillation(word_tower, folder, pixels=128)
    with seeded(0):
        student = Student(asked.bundle, asked.pixels)
        task = run.distillation_task(asked, student, tmp_path)
    batch = next(iter(DataLoader(task.train_data, batch_sampler=[[Draw(row, 0) for row in range(32)]])))
    # The solved start is as near as maps on a random trunk come: training has to find them again.
    for name in ("embedding", "tokens"):
        torch.nn.init.zeros_(getattr(student.visual, name).linear.weight)
    blocks, maps = task.optimizer().param_groups
    optimizer = torch.optim.AdamW(maps["params"], lr=2e-5)
    distances = []
    for _ in range(8):
        with seeded(1):
            loss = task.training_step(student, batch).loss
        distances.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert distances[-1] < 0.9 * distances[0], distances
    assert all(parameter.grad.abs().sum() > 0 for parameter in blocks["params"])


def test_what_is_trained_is_what_the_bundle_computes(teacher: Path) -> None:
    bundle = load_bundle(teacher)
    student = Student(bundle, 128)
    model = TaggingModel(student.config, bundle.manifest.head, bundle.tokenizer).eval()
    model.backbone.visual.load_state_dict(student.tower_state())
    pixels = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        seen = student(*student.frozen_tower()(pixels))
        served = model.backbone.encode_images(pixels)
    torch.testing.assert_close(seen.embeddings, served.image_embeddings, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen.tokens, served.patch_tokens, rtol=1e-3, atol=1e-4)
    if served.word_logits is not None:
        torch.testing.assert_close(seen.word_logits, served.word_logits, rtol=1e-3, atol=1e-4)


def test_a_dry_run_only_says_what_a_run_would_take(
    sigrl_train: Callable, towers: Path, folder: Path, tmp_path: Path
) -> None:
    status, out, err = sigrl_train("distill", towers, folder, "-o", tmp_path / "run", "--dry-run")
    assert status == 0, err
    assert "photographs: 52 to train on, 20 held out" in out
    assert "disk:" in out
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_distilled_is_refused(
    sigrl_train: Callable, towers: Path, folder: Path, tmp_path: Path
) -> None:
    def refusal(teacher: Path, photographs_in: Path, *options: object) -> str:
        status, _, err = sigrl_train("distill", teacher, photographs_in, "-o", tmp_path / "run", *options)
        assert status == 2
        return err

    assert "choose a multiple of 64" in refusal(towers, folder, "--pixels", 200)
    (tmp_path / "empty").mkdir()
    assert "a student needs at least 40" in refusal(towers, tmp_path / "empty")
    bundle = load_bundle(towers)
    described = Description(
        name="published",
        backbone=bundle.manifest.backbone,
        head=HeadConfig(kind="mkt", form="published", top_k=2),
        preprocessing=bundle.manifest.preprocessing,
        default_threshold=0.5,
        provenance={},
    )
    state = {name: one for name, one in bundle.model.state_dict().items() if name.startswith("backbone.")}
    save_bundle(tmp_path / "published", described, state, bundle.tokenizer)
    assert "in the context form" in refusal(tmp_path / "published", folder)


def test_the_start_is_a_ridge_regression() -> None:
    random = np.random.default_rng(0)
    features, targets = random.standard_normal((50, 3)) * (1, 5, 0.2) + 2, random.standard_normal((50, 2))
    weight, bias = ridge(torch.from_numpy(features).float(), torch.from_numpy(targets).float())
    standardised = (features - features.mean(0)) / features.std(0, ddof=1)
    # The penalty as three more observations of 0.
    rows = np.concatenate([standardised / np.sqrt(50), np.sqrt(0.1) * np.eye(3)])
    wanted = np.concatenate([(targets - targets.mean(0)) / np.sqrt(50), np.zeros((3, 2))])
    solved = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(
        features @ weight.numpy().T + bias.numpy(), standardised @ solved + targets.mean(0), atol=1e-4
    )
