"""`sigrl-train distill`: from a teacher and a folder of photographs to the student's bundle."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.bundle_files import BundleFiles, make_files, read_files
from sigrl.model.manifest import CALIBRATION, TOKENIZER, WEIGHTS, Description
from sigrl.model.photograph_files import photographs_below
from sigrl.model.storage import pack
from sigrl.model.vocabulary import Label
from sigrl.training.bundles.provenance import commit
from sigrl.training.data.batches import seeded
from sigrl.training.data.class_folders import refuse_folder
from sigrl.training.data.common_names import common_names
from sigrl.training.data.dataset import DataError, LabelledPhotographs
from sigrl.training.loop.loop import create_accelerator, train
from sigrl.training.loop.schedules import WarmUpCosine
from sigrl.training.loop.task import LoopConfig
from sigrl.training.tasks.distillation.photographs import study
from sigrl.training.tasks.distillation.start import solve_linear_maps
from sigrl.training.tasks.distillation.student import TRUNK, Student
from sigrl.training.tasks.distillation.task import DistillationTask
from sigrl.training.tasks.photographs.model import encode_labels

FEATURES = "features"
"""The folder of the run with what is computed once; a finished run needs it no more."""
NAMES = 2048
"""Common names whose scores the student learns, besides the embeddings that all other words need."""
LEAST_PHOTOGRAPHS = 40
HELD_OUT = 400
"""Largest number of photographs that are not trained on. They show how alike the student is, and become the
background set of its calibration."""
BATCH_SIZE = 32
_RATE = 1e-4
_AVERAGING = 0.99
_STRIDE = 32
"""Pixels of the student's input for each position of its grid."""


@dataclass(frozen=True)
class Distillation:
    """What the command was asked for."""

    teacher: Path
    """A bundle."""
    folder: Path
    """Photographs; labels are not needed."""
    pixels: int = 256
    """Side of the student's input, a multiple of 64: evidence heads look at squares of two positions."""
    epochs: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises DataError for what cannot be trained."""
        if self.pixels % (2 * _STRIDE):
            raise DataError(f"--pixels {self.pixels}: choose a multiple of {2 * _STRIDE}, such as 256")
        if self.bundle.manifest.head.form != "context":
            raise DataError(
                f"the head of {self.teacher} is in the published form, whose scores depend on the label set: "
                "choose a teacher in the context form"
            )
        if len(self.photographs) < LEAST_PHOTOGRAPHS:
            raise DataError(
                f"{self.folder} has {len(self.photographs)} photographs: a student needs at least "
                f"{LEAST_PHOTOGRAPHS}, and learns from thousands"
            )

    @cached_property
    def bundle(self) -> Bundle:
        """The teacher."""
        return load_bundle(self.teacher)

    @cached_property
    def photographs(self) -> tuple[Path, ...]:
        """All photographs of the folder, in an order that depends on the seed alone."""
        found = sorted(photographs_below(self.folder, refuse_folder))
        return tuple(found[row] for row in np.random.default_rng(self.seed).permutation(len(found)))

    @property
    def held_out(self) -> tuple[Path, ...]:
        """The photographs that are not trained on: every tenth, but `HELD_OUT` at most and 20 at least."""
        return self.photographs[: min(HELD_OUT, max(20, len(self.photographs) // 10))]

    @property
    def training(self) -> tuple[Path, ...]:
        """All others."""
        return self.photographs[len(self.held_out) :]

    @property
    def grid(self) -> tuple[int, int]:
        """The student's grid of patch tokens."""
        return self.pixels // _STRIDE, self.pixels // _STRIDE

    @property
    def loop(self) -> LoopConfig:
        """The loop's settings. Everything is read from disk as it is, so no loader processes are needed."""
        batch_size = min(BATCH_SIZE, len(self.training))
        return LoopConfig(
            epochs=self.epochs,
            batch_size=batch_size,
            clip_norm=5.0,
            averaging=_AVERAGING,
            workers=0,
            seed=self.seed,
        )


def make_student(asked: Distillation, directory: Path) -> BundleFiles:
    """Trains the student, or resumes an interrupted run in `directory`. Returns its bundle, without graphs,
    and with the calibration of its teacher. Raises DataError and BundleError."""
    with seeded(asked.seed):
        student = Student(asked.bundle, asked.pixels)
        task = distillation_task(asked, student, directory / FEATURES)
    digest = hashlib.sha256("\n".join(map(str, asked.photographs)).encode()).hexdigest()
    identity = {
        "teacher": asked.bundle.checkpoint_id,
        "photographs": digest,
        "pixels": asked.pixels,
        "student": TRUNK,
    }
    train(task, asked.loop, directory, identity)
    return student_files(asked, student, task.evaluate(create_accelerator(asked.loop)))


def distillation_task(asked: Distillation, student: Student, cache: Path) -> DistillationTask:
    """The training of `student`, whose linear maps are solved on the photographs; what is computed once is
    kept in `cache`. Raises DataError for a photograph that cannot be read."""
    manifest, head = asked.bundle.manifest, asked.bundle.model.head
    device = create_accelerator(asked.loop).device
    names = [Label(name=name) for name in common_names(NAMES)]
    labels = encode_labels(asked.bundle, names)
    words = manifest.backbone.words
    data = {
        part: study(asked.teacher, student, paths, asked.grid, cache, part)
        for part, paths in (("held out", asked.held_out), ("training", asked.training))
    }
    known_words = 0 if words is None else words.words
    solve_linear_maps(student, data["training"], known_words)
    return DistillationTask(
        module=student,
        schedule=WarmUpCosine(_RATE, 0.0, 0.5, asked.epochs),
        train_data=data["training"],
        held_out=data["held out"],
        head=head.to(device),
        names=labels.refined,
        grid=asked.grid,
        known_words=known_words,
    )


def student_files(asked: Distillation, student: Student, measured: dict[str, float]) -> BundleFiles:
    """The student's bundle: its image tower, and everything else as the teacher's bundle stores it."""
    files = read_files(asked.teacher)
    stored = load_tensors(files.contents[WEIGHTS])
    tensors = {name: one for name, one in stored.items() if not name.startswith("backbone.visual.")}
    tower = {f"backbone.visual.{name}": one for name, one in student.tower_state().items()}
    # An evidence head cannot be without a background set: the student's own takes this one's place.
    kept = {name: files.contents[name] for name in (TOKENIZER, CALIBRATION) if name in files.contents}
    contents = {WEIGHTS: save_tensors(tensors | pack(tower, lambda *_: False)), **kept}
    manifest = files.manifest
    entry = {
        "teacher": files.checkpoint_id,
        "photographs": f"{len(asked.training)} without labels",
        "image tower": f"{TRUNK}, ImageNet weights (Apache-2.0), its last stages trained",
        "measured": measured,
        "command": f"sigrl-train distill --pixels {asked.pixels} --epochs {asked.epochs} --seed {asked.seed}",
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    description = Description(
        name=f"{manifest.name} (distilled)"[:200],
        backbone=student.config,
        head=manifest.head,
        preprocessing=student.preprocessing,
        default_threshold=manifest.default_threshold,
        calibration=manifest.calibration,
        provenance={**manifest.provenance, "distillation": entry},
    )
    return make_files(description, contents)


def background(asked: Distillation) -> LabelledPhotographs:
    """The held-out photographs, to calibrate the student on."""
    return LabelledPhotographs(asked.held_out, (), np.zeros((len(asked.held_out), 0), np.int8))
