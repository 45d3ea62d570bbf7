"""Photographs of one's own with labels, and a configuration that trains on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sigrl.training.tasks.photographs.config import PhotographsConfig

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (30, 30, 240)}
PHOTOGRAPHS = 40


def write_photographs(folder: Path) -> list[dict[str, Any]]:
    """Each photograph shows some of three colours, which its line of labels names."""
    random = np.random.RandomState(0)
    folder.mkdir()
    lines = []
    for number in range(PHOTOGRAPHS):
        image = Image.new("RGB", (64, 48))
        holds = random.rand(3) < 0.5
        for place, colour in enumerate(COLOURS.values()):
            if holds[place]:
                ImageDraw.Draw(image).rectangle((22 * place, 4, 22 * place + 18, 44), fill=colour)
        name = f"{number:02}.jpg"
        image.save(folder / name)
        said = [
            [one for one, held in zip(COLOURS, holds, strict=True) if held == wanted]
            for wanted in (True, False)
        ]
        lines.append({"image": name, "positive": said[0], "negative": said[1]})
    return lines


def write_labels(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def changed(config: PhotographsConfig, **changes: Any) -> PhotographsConfig:
    loop = {**config.loop.model_dump(), **changes.pop("loop", {})}
    return PhotographsConfig.model_validate({**config.model_dump(), **changes, "loop": loop})


def metrics(directory: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    return lines
