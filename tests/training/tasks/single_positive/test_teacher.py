"""VLPL's pseudo-labels match the towers' outputs and are made once."""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional

from sigrl.model.bundle import load_bundle
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.coco import read_coco
from sigrl.training.losses.pseudo_labels import VlplOptions, vlpl_pseudo_labels
from sigrl.training.tasks.single_positive import teacher as single_positive_teacher
from sigrl.training.tasks.single_positive.teacher import load_pseudo_labels

OPTIONS = VlplOptions(temperature=0.05, threshold=0.2, negative_share=0.25)


def test_pseudo_labels_match_the_tower_similarities(towers: Path, coco_root: Path, tmp_path: Path) -> None:
    photographs, teacher = read_coco(coco_root, "train2014"), load_bundle(towers)
    made = load_pseudo_labels(tmp_path, teacher, OPTIONS, photographs, Accelerator(cpu=True), 0)
    backbone, preprocessing = teacher.model.backbone, teacher.manifest.preprocessing
    pixels = np.stack([read_photograph(path, preprocessing) for path in photographs.image_paths])
    with torch.no_grad():
        images = functional.normalize(
            backbone.encode_images(torch.from_numpy(pixels)).image_embeddings, dim=-1
        )
        names = backbone.encode_labels(Vocabulary.from_names(photographs.label_names).labels)
    cosines = images @ functional.normalize(names, dim=-1).T
    expected = vlpl_pseudo_labels((cosines / 0.05).softmax(dim=1), OPTIONS)
    assert torch.equal(made.float(), expected)
    assert (made == -1).sum(1).eq(2).all()
    assert (made == 1).any()


def test_pseudo_labels_are_cached_for_the_same_inputs(
    towers: Path, coco_root: Path, tmp_path: Path, monkeypatch
) -> None:
    photographs, teacher, made = read_coco(coco_root, "train2014"), load_bundle(towers), []
    original = single_positive_teacher.make_pseudo_labels

    def counting(*arguments: object) -> torch.Tensor:
        made.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(single_positive_teacher, "make_pseudo_labels", counting)
    one, again = (
        load_pseudo_labels(tmp_path, teacher, OPTIONS, photographs, Accelerator(cpu=True), 0)
        for _ in range(2)
    )
    assert len(made) == 1
    assert torch.equal(one, again)
    other = OPTIONS.model_copy(update={"threshold": 0.9})
    load_pseudo_labels(tmp_path, teacher, other, photographs, Accelerator(cpu=True), 0)
    assert len(made) == 2
