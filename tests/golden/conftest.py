"""The reference's numbers: where they lie, how they are read, and how ours are held against them."""

import json
import os
import re
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import create_head
from sigrl.model.reference_names import map_reference_weights

COMMITTED = Path(__file__).parent / "data"
BESIDE_REPOSITORY = Path(__file__).parents[3] / "shared" / "golden"
SECOND_POSITIONS = "positional_embedding@P49"

# Largest deviation seen, by (file, dtype), as a part of what is allowed; shown at the end of the run.
worst: dict[tuple[str, str], tuple[float, str]] = {}


class Golden:
    """One folder of golden files, in the layout of the published MANIFEST.json."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = json.loads((root / "MANIFEST.json").read_text())
        self._files: dict[str, np.lib.npyio.NpzFile] = {}

    def file(self, name: str) -> np.lib.npyio.NpzFile:
        if name not in self._files:
            self._files[name] = np.load(self.root / name, allow_pickle=False)
        return self._files[name]

    def described(self, file: str) -> dict[str, dict]:
        return self.manifest["files"].get(file, {"arrays": {}})["arrays"]

    def case(self, file: str, name: str) -> dict:
        """The parameters of a case; skips the test when it is neither here nor in the committed part."""
        cases = self.manifest["files"].get(file, {"cases": {}})["cases"]
        if name not in cases:
            assert name not in committed_cases(file), f"{file} in {self.root} lacks the committed case {name}"
            pytest.skip(f"{file} in {self.root} holds no case {name}")
        return cases[name]

    def array(self, file: str, name: str) -> torch.Tensor:
        return torch.from_numpy(self.file(file)[name])

    def recipe(self, recipe: dict) -> torch.Tensor:
        """An input that is not stored but drawn again from its seed."""
        normal = np.random.RandomState(recipe["seed"]).standard_normal(recipe["shape"])
        drawn = (normal * recipe["scale"]).astype(np.float32)
        np.testing.assert_array_equal(drawn.ravel()[:8], np.float32(recipe["first8"]))
        return torch.from_numpy(drawn)

    @cached_property
    def _stored_weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.root / "weights.safetensors")

    def weights(self, variant: str, model: str = "A") -> dict[str, torch.Tensor]:
        """The reference's state dict, `plain` or `sharp`, of model `A` or `B`."""
        factors = self.manifest["files"]["weights.safetensors"]["sharp_variant"]["multiply"]
        stored = dict(self._stored_weights)
        second_positions = stored.pop(SECOND_POSITIONS, None)
        if model == "B":
            stored["positional_embedding"] = second_positions
        if variant == "sharp":
            stored |= {name: stored[name] * factor for name, factor in factors.items()}
        return stored

    def compare(self, file: str, name: str, ours: torch.Tensor, rounding: float | None = None) -> None:
        """Asserts that `ours` (whole) matches a stored array: float32 within its suggested tolerance, float64
        to 1e-9 of the largest value, where a float64 run is stored. A path of lower precision states the
        `rounding` that it is allowed, as a part of the largest value."""
        if name not in self.described(file):
            assert name.split("/")[0] not in committed_cases(file), f"{file} in {self.root} lacks {name}"
            pytest.skip(f"{file} in {self.root} holds no array {name}")
        description = self.described(file)[name]
        if ours.dtype == torch.float64:
            if name + ".f64" not in self.described(file):
                return
            stored = self.file(file)[name + ".f64"]
            tolerance = 1e-9 * np.abs(stored).max()
        else:
            stored = self.file(file)[name]
            tolerance = description["suggested_atol"]
            if rounding is not None:
                tolerance = rounding * np.abs(stored).max()
        if "stored_part" in description:
            assert list(ours.shape) == description["full_shape"]
            if description["stored_part"].startswith("flattened"):
                ours = ours.flatten()
            ours = ours[stored_index(description["stored_part"])]
        assert tuple(ours.shape) == stored.shape
        deviation = float(np.abs(ours.detach().numpy() - stored).max())
        key = (file, str(ours.dtype).removeprefix("torch.") if rounding is None else "low precision")
        # Where the reference is 0 throughout, nothing is allowed.
        part = deviation / tolerance if tolerance else 0.0
        worst[key] = max(worst.get(key, (0.0, "")), (part, name))
        assert deviation <= tolerance, f"{file} {name}: off by {deviation:.3g}, allowed {tolerance:.3g}"


def stored_index(text: str) -> tuple[slice | int, ...]:
    """`patches [:, ::28, :]` -> the index it describes."""
    parts = re.search(r"\[(.*)\]", text)[1].split(",")
    return tuple(
        slice(*(int(bound) if bound else None for bound in part.strip().split(":")))
        if ":" in part
        else int(part)
        for part in parts
    )


def committed_cases(file: str) -> dict[str, dict]:
    manifest = json.loads((COMMITTED / "MANIFEST.json").read_text())
    return manifest["files"].get(file, {"cases": {}})["cases"]


@pytest.fixture(scope="session")
def committed() -> Golden:
    return Golden(COMMITTED)


@pytest.fixture(scope="session")
def golden(committed) -> Golden:
    """The folder named by SIGRL_GOLDEN, or beside the repository; the committed part where that is absent."""
    whole = Path(os.environ.get("SIGRL_GOLDEN", BESIDE_REPOSITORY))
    return Golden(whole) if (whole / "MANIFEST.json").is_file() else committed


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request) -> torch.dtype:
    return getattr(torch, request.param)


@pytest.fixture
def make_head(golden):
    """(weights variant, dtype, configuration) -> a published head with the reference's weights."""

    def make(variant: str, dtype: torch.dtype, **options):
        head = create_head(HeadConfig(form="published", **options), 512).to(dtype).eval()
        if head.config.kind == "sigrl":
            head.load_state_dict(map_reference_weights(golden.weights(variant)).head)
        return head

    return make


@pytest.fixture(scope="session")
def encode(golden):
    """(case, dtype) -> ImageFeatures of its images, and the patch tokens before projection [B, P, width]."""
    shape = golden.manifest["files"]["weights.safetensors"]["vision_tower"]

    def build(model: str, resolution: int) -> Backbone:
        vision = {
            "image_size": resolution,
            "patch_size": shape["patch"],
            "width": shape["width"],
            "layers": shape["layers"],
            "head_width": shape["width"] // shape["heads"],
        }
        text = {"width": 8, "heads": 1, "layers": 1}
        config = BackboneConfig(embed_dim=shape["embed_dim"], vision=vision, text=text, quick_gelu=True)
        backbone = Backbone(config)
        tower = map_reference_weights(golden.weights("plain", model)).tower
        backbone.visual.load_state_dict(
            {name.removeprefix("visual."): tensor for name, tensor in tower.items()}
        )
        return backbone.eval()

    @cache
    def run(
        model: str, resolution: int, recipe: str, dtype: torch.dtype
    ) -> tuple[ImageFeatures, torch.Tensor]:
        backbone = build(model, resolution).to(dtype)
        images = golden.recipe(json.loads(recipe)).to(dtype)
        with torch.no_grad():
            return backbone.encode_images(images), backbone.visual(images)[1]

    return lambda case, dtype: run(case["model"], case["resolution"], json.dumps(case["images"]), dtype)


def pytest_terminal_summary(terminalreporter) -> None:
    for (file, dtype), (part, name) in sorted(worst.items()):
        terminalreporter.write_line(f"golden {file} {dtype}: at most {part:.2g} of the tolerance ({name})")
