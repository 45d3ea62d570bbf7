"""VLPL's pseudo-labels: made by a CLIP once for all training photographs, and stored with the run."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from sigrl.model.bundle import Bundle
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones.features import map_photographs
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.loop.state import read_state, write_state
from sigrl.training.losses.pseudo_labels import VlplOptions, label_similarity, vlpl_pseudo_labels

FILE = "pseudo_labels.safetensors"


@torch.no_grad()
def make_pseudo_labels(
    teacher: Bundle,
    options: VlplOptions,
    photographs: LabelledPhotographs,
    accelerator: Accelerator,
    workers: int,
) -> Tensor:
    """Pseudo-labels [N, C] (int8) in {-1, 0, 1} from the towers alone, whatever head the bundle has, with the
    service's preprocessing. The published code makes them again in each step, also from mirrored
    photographs."""
    backbone = teacher.model.backbone.to(accelerator.device)

    def embed(pixel_values: Tensor) -> Sequence[Tensor]:
        return [backbone.encode_images(pixel_values).image_embeddings]

    preprocessing = teacher.manifest.preprocessing
    (images,) = map_photographs(
        embed, accelerator, photographs.image_paths, preprocessing, "pseudo-labels", workers=workers
    )
    labels = backbone.encode_labels(Vocabulary.from_names(photographs.label_names).labels)
    labels = functional.normalize(labels, dim=-1).cpu()
    similarity = label_similarity(images, labels, options.temperature)
    return vlpl_pseudo_labels(similarity, options).to(torch.int8)


def load_pseudo_labels(
    directory: Path,
    teacher: Bundle,
    options: VlplOptions,
    photographs: LabelledPhotographs,
    accelerator: Accelerator,
    workers: int,
) -> Tensor:
    """The pseudo-labels of `make_pseudo_labels`, or the stored ones of an earlier run in `directory`."""
    names = "\n".join([*photographs.label_names, "", *(photographs.ids or ())])
    content = {
        "teacher": teacher.checkpoint_id,
        "options": options.model_dump(mode="json", include=set(VlplOptions.model_fields)),
        "photographs": hashlib.sha256(names.encode()).hexdigest(),
    }
    path = directory / FILE
    if path.is_file():
        tensors, theirs = read_state(path)
        if theirs == content:
            return tensors["labels"]
    labels = make_pseudo_labels(teacher, options, photographs, accelerator, workers)
    if accelerator.is_main_process:
        directory.mkdir(parents=True, exist_ok=True)
        write_state(path, {"labels": labels}, content)
    accelerator.wait_for_everyone()
    return labels
