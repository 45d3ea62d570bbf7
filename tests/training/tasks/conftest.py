"""A ViT with text tower, small enough to train within a test. Each test counts as a program of its own."""

from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.config import BackboneConfig, HeadConfig, Preprocessing, SentenceEncoderConfig
from sigrl.model.manifest import Description
from sigrl.training.tasks.photographs import bundle as photographs_run


@pytest.fixture(autouse=True)
def _as_a_program_with_few_names(monkeypatch: pytest.MonkeyPatch):
    """A program has one accelerator for its lifetime. `task: photographs` writes names into its bundle."""
    monkeypatch.setattr(photographs_run, "NAMES", 24)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory, tokenizer_definition: bytes) -> Path:
    """A bundle as `import` writes it: open_clip's ViT with one block and four patches. Do not change it."""
    description = Description(
        name="tiny vit",
        backbone=BackboneConfig(
            embed_dim=16,
            vision={"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
            sentence_encoder=SentenceEncoderConfig(
                vocab_size=87, width=16, layers=1, heads=2, feed_forward=32, context_length=32
            ),
        ),
        head=HeadConfig(kind="clip"),
        preprocessing=Preprocessing(image_size=32),
        default_threshold=0.5,
        provenance={},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TaggingModel(description.backbone, description.head, tokenizer_definition)
    directory = tmp_path_factory.mktemp("bundles") / "vit"
    save_bundle(directory, description, model.state_dict(), tokenizer_definition)
    return directory
