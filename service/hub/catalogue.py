"""The list of models that `sigrl checkpoint get` offers: `catalogue.yaml`, checked."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

from sigrl.service.errors import CheckpointNotFoundError

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of the weights in a repository, the preferred one first."""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
"""The files of a tokenizer."""
_FLOAT32_BYTES = 4
_HALF_BYTES = 2
_MOST_TRACED_BYTES = 2**31
_PROCESS_BYTES = 300 * 10**6


class Model(BaseModel):
    """A model and what its publisher says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """As the user writes it; also the name of the bundle."""
    architecture: str
    """open_clip's name of the architecture."""
    tag: str
    """open_clip's name of the weights."""
    repository: str
    """The repository on the hub that has the weights."""
    tokenizer: str | None = None
    """The repository with the files of `TOKENIZER`; None for CLIP's tokenizer, which needs no download."""
    parameters: tuple[float, float]
    """Of the image tower and of the text tower, in millions."""
    resolution: int
    """Side of the image tower's input, in pixels."""
    languages: str
    """Languages of the texts that it was trained on."""
    licence: str
    """The licence of the weights."""
    imagenet: float | None = None
    """Zero-shot accuracy on ImageNet-1k in percent; None if no source states it."""
    source: str
    """The page that states licence and accuracy."""

    @property
    def full_bytes(self) -> int:
        """Size of the weights in float32, as most publishers store them."""
        return round(sum(self.parameters) * 1e6) * _FLOAT32_BYTES

    @property
    def gets_graphs(self) -> bool:
        """Whether ONNX graphs can be made of it. A traced tower is one protobuf message, below 2 GiB."""
        return max(self.parameters) * 1e6 * _FLOAT32_BYTES < _MOST_TRACED_BYTES

    @property
    def serving_bytes(self) -> int:
        """About the memory that serving takes: the weights in float32 and in their file, and a process."""
        return self.full_bytes + self.bundle_bytes + _PROCESS_BYTES

    @property
    def bundle_bytes(self) -> int:
        """Size of the bundle, which stores matrices in float16."""
        return round(sum(self.parameters) * 1e6) * _HALF_BYTES


def catalogue() -> tuple[Model, ...]:
    """All models of the list, in its order: small ones first."""
    content = yaml.safe_load(Path(__file__).with_name("catalogue.yaml").read_text(encoding="utf-8"))
    return tuple(Model.model_validate(entry) for entry in content)


def find_model(name: str) -> Model:
    """The model with this name. Raises CheckpointNotFoundError, which names similar ones."""
    models = {model.name: model for model in catalogue()}
    if name in models:
        return models[name]
    close = get_close_matches(name, models, n=3, cutoff=0.4)
    raise CheckpointNotFoundError(
        f"the list has no model {name[:80]!a}",
        f"{'similar names are ' + ', '.join(close) + '; ' if close else ''}"
        "`sigrl checkpoint get --list` shows all, and `sigrl-train import` takes any other",
    )
