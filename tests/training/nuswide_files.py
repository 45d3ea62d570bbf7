"""A generated data set in NUS-WIDE's layout, and bundles to start from, with a ViT of four blocks."""

import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image, ImageDraw
from tiny_run import kill

from sigrl.model.bundle import TaggingModel, load_bundle, save_bundle
from sigrl.model.config import BackboneConfig, HeadConfig, Preprocessing, SentenceEncoderConfig
from sigrl.model.manifest import Description
from sigrl.training.loop import state as run_state
from sigrl.training.tasks.nuswide.data import load_nuswide
from sigrl.training.tasks.nuswide.evaluation import score_photographs
from sigrl.training.tasks.nuswide.run import NusWideConfig, create_task

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230), "sky light": (120, 200, 250)}
SEEN, UNSEEN = ("red", "green", "blue"), ("sky light",)
PHOTOGRAPHS = 20
SENTENCES = SentenceEncoderConfig(
    vocab_size=87, width=16, layers=1, heads=2, feed_forward=32, context_length=32
)


def write_dataset(root: Path) -> None:
    random = np.random.RandomState(0)
    (root / "features").mkdir(parents=True)
    (root / "Flickr" / "colour").mkdir(parents=True)
    (root / "Concepts925.txt").write_text("\n".join(SEEN))
    (root / "Concepts81.txt").write_text("\n".join(UNSEEN))
    for split, pickled in (("train", "img_names.pkl"), ("test", "test_img_names.pkl")):
        names = [f"colour_{number:04}_{split == 'test':d}.jpg" for number in range(PHOTOGRAPHS)]
        (root / pickled).write_bytes(pickle.dumps({"img_names": names}))
        with h5py.File(root / "features" / f"nus_wide_{split}.h5", "w") as file:
            for number, name in enumerate(names):
                holds = random.rand(4) < 0.5
                holds[0] |= number == 0
                image = Image.new("RGB", (90, 70))
                for place, colour in enumerate(COLOURS.values()):
                    if holds[place]:
                        ImageDraw.Draw(image).rectangle((22 * place, 5, 22 * place + 20, 60), fill=colour)
                image.save(root / "Flickr" / "colour" / name.removeprefix("colour_"))
                labels = np.where(holds, 1, -1).astype(np.int8)
                file.create_dataset(f"{name}-labels", data=labels[: 3 if split == "train" else 4])
                file.create_dataset(f"{name}-labels_81", data=labels[3:])


def write_start(directory: Path, head: HeadConfig, tokenizer: bytes | None, **backbone: Any) -> Path:
    """A bundle of random towers, which `backbone` may replace; without a tokenizer.json it has CLIP's text
    tower."""
    text = {"width": 16, "heads": 2, "layers": 1} if tokenizer is None else None
    towers: dict[str, Any] = {
        "embed_dim": 16,
        "vision": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 4, "head_width": 16},
        "text": text,
        "sentence_encoder": None if text else SENTENCES,
    }
    description = Description(
        name="tiny vit",
        backbone=BackboneConfig(**(towers | backbone)),
        head=head,
        preprocessing=Preprocessing(image_size=backbone.get("vision", towers["vision"])["image_size"]),
        default_threshold=0.5,
        provenance={"data": "none: random weights"},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TaggingModel(description.backbone, description.head, tokenizer)
    save_bundle(directory, description, model.state_dict(), tokenizer)
    return directory


def score_files(config: NusWideConfig, paths: Sequence[Path]) -> np.ndarray:
    """Scores [N, C] of photographs under all labels, by the model that a run starts with."""
    start = load_bundle(config.start)
    set_seed(0)
    task, label_embeddings = create_task(config, load_nuswide(config), start)
    preprocessing = start.manifest.preprocessing
    (scores,) = score_photographs(
        task.module.eval(), Accelerator(cpu=True), paths, preprocessing, [label_embeddings], workers=0
    )
    return scores


def changed(config: Any, **changes: Any) -> Any:
    """The configuration with other values; those of `loop` are replaced one by one."""
    loop = config.loop.model_copy(update=changes.pop("loop", {}))
    return config.model_copy(update={"loop": loop, **changes})


def killed_at_write(number: int, run: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs `run` in a separate process and kills it when its state is written for the `number`-th time."""
    original, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == number:
            kill()
        original(source, target)

    monkeypatch.setattr(run_state.os, "replace", replace)
    run()
