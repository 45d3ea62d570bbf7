"""What tests of several packages share: a tiny bundle with all its parts real, made on the spot."""

import os
import string
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

if not torch.cuda.is_available():
    # The GPU's kernels run in Triton's interpreter. It reads this when it is imported, as some of ours do.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.config import BackboneConfig, HeadConfig, Preprocessing, SentenceEncoderConfig
from sigrl.model.manifest import Description
from sigrl.model.vocabulary import Label

VIT = {"image_size": 64, "patch_size": 8, "width": 32, "head_width": 16, "layers": 6}
WORDS = ("there", "is", "in", "the", "scene", "photo", "of", "dog", "cat", "red", "blue")


def pytest_configure() -> None:
    """One thread, in processes that tests start too: threads that wait for one another gain nothing on
    tensors this small, and cost minutes where the machine is busy."""
    torch.set_num_threads(1)
    # TensorBoard's logging, which OpenVINO imports if it is there, closes its stream when logging is
    # configured anew. That must not be the stream that pytest captures.
    with suppress(ModuleNotFoundError):
        from absl import logging as absl_logging

        absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def tokenizer_definition() -> bytes:
    """A WordPiece tokenizer.json of 87 tokens: a few words, and all letters and digits to build others of."""
    characters = string.ascii_lowercase + string.digits
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *characters, *(f"##{c}" for c in characters)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer.to_str().encode()


@pytest.fixture(scope="session")
def tiny_description() -> Description:
    """timm's smallest convolutional tower, a sentence encoder of two layers, the sigrl head in context."""
    return Description(
        name="tiny",
        backbone=BackboneConfig(
            embed_dim=32,
            vision={"timm_model_name": "test_efficientnet", "image_size": 64},
            sentence_encoder=SentenceEncoderConfig(
                vocab_size=87, width=16, layers=2, heads=2, feed_forward=32, context_length=32
            ),
        ),
        head=HeadConfig(top_k=2, context_labels=("dog", "cat", "person", "car", "tree", "sky")),
        preprocessing=Preprocessing(image_size=64, resize="squash"),
        default_threshold=0.5,
        provenance={"data": "none: random weights"},
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_description: Description, tokenizer_definition: bytes) -> TaggingModel:
    """Random weights of `tiny_description`. Shared by all tests: do not change it."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = TaggingModel(tiny_description.backbone, tiny_description.head, tokenizer_definition).eval()
        torch.nn.init.normal_(model.backbone.text.position_embedding)
        names = tiny_description.head.context_labels
        model.head.set_context(model.backbone.encode_labels([Label(name=name) for name in names]))
    return model


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_description: Description,
    tiny_model: TaggingModel,
    tokenizer_definition: bytes,
) -> Path:
    """Directory of the bundle of `tiny_model`. Shared by all tests: do not change it."""
    directory = tmp_path_factory.mktemp("bundles") / "tiny"
    save_bundle(directory, tiny_description, tiny_model.state_dict(), tokenizer_definition)
    return directory


@pytest.fixture(scope="session")
def vit_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_description: Description, tokenizer_definition: bytes
) -> Path:
    """Directory of a bundle with CLIP's vision transformer and the clip head, on random weights. Shared by
    all tests: do not change it."""
    backbone = tiny_description.backbone.model_copy(update={"vision": VIT})
    changes = {"name": "vit", "backbone": backbone, "head": HeadConfig(kind="clip")}
    description = tiny_description.model_copy(update=changes)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = TaggingModel(description.backbone, description.head, tokenizer_definition).eval()
        torch.nn.init.normal_(model.backbone.text.position_embedding)
    directory = tmp_path_factory.mktemp("bundles") / "vit"
    save_bundle(directory, description, model.state_dict(), tokenizer_definition)
    return directory
