"""Drawn pictures that show no thing: plain colours, gradients, noise, patterns, shapes, charts and texts.

Every photograph of the data sets shows something, so a model that has seen nothing else finds something in
an empty picture too. Here nothing applies but `text` where there is text.
"""

import math
import random
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sigrl.training.tasks.everyday.photographs import Photograph

DRAWN = "drawn"
"""Their source, and their repository in `origins.yaml`."""
_SIZES = ((320, 320), (480, 360), (360, 480), (640, 400))
_ALPHABETS = ("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789")
_DRAWINGS = frozenset({"drawing", "cartoon", "poster", "sign", "flag", "map", "screenshot", "document"})
_SKIES = frozenset({"sky", "blue sky", "sunset", "night", "fog", "cloud"})

_Size = tuple[int, int]
_Colour = tuple[int, int, int]


def drawn_pictures(folder: Path, names: Collection[str], count: int, seed: int) -> list[Photograph]:
    """`count` pictures of each kind, densely labelled with `names`; they are written to `folder` if they are
    not there."""
    labelled = frozenset(names)
    folder.mkdir(parents=True, exist_ok=True)
    photographs = []
    for kind, (draw, positive, unsure) in _KINDS.items():
        for number in range(count):
            name = f"{kind}-{seed}-{number}.png"
            if not (folder / name).is_file():
                order = random.Random(name)
                draw(order, order.choice(_SIZES)).save(folder / name)
            photographs.append(
                Photograph(
                    folder / name,
                    DRAWN,
                    DRAWN,
                    name,
                    dense=True,
                    sought=True,
                    positive=positive & labelled,
                    unsure=unsure & labelled,
                )
            )
    return photographs


def _colour(order: random.Random) -> _Colour:
    if order.random() < 0.4:
        return (order.randrange(256),) * 3
    return (order.randrange(256), order.randrange(256), order.randrange(256))


def _plain(order: random.Random, size: _Size) -> Image.Image:
    return Image.new("RGB", size, _colour(order))


def _gradient(order: random.Random, size: _Size) -> Image.Image:
    angle = order.uniform(0, 2 * math.pi)
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    radial = order.random() < 0.3
    share = np.hypot(x, y) if radial else (x * math.cos(angle) + y * math.sin(angle)) / 2 + 0.5
    share = share.clip(0, 1)[..., None]
    pixels = share * np.array(_colour(order)) + (1 - share) * np.array(_colour(order))
    return Image.fromarray(pixels.round().astype(np.uint8))


def _noise(order: random.Random, size: _Size) -> Image.Image:
    """Noise whose grains are between a pixel and a third of the picture wide."""
    grain = math.exp(order.uniform(0, math.log(min(size) / 3)))
    coarse = (max(2, round(size[0] / grain)), max(2, round(size[1] / grain)))
    values = np.random.default_rng(order.getrandbits(32))
    channels = order.choice((1, 3))
    pixels = values.normal(order.uniform(60, 200), order.uniform(8, 90), (*coarse[::-1], channels))
    noise = Image.fromarray(np.repeat(pixels, 3 // channels, 2).clip(0, 255).astype(np.uint8))
    return noise.resize(size, order.choice((Image.Resampling.BICUBIC, Image.Resampling.NEAREST)))


def _pattern(order: random.Random, size: _Size) -> Image.Image:
    """Stripes or a checkerboard."""
    width = order.randint(2, 60)
    angle = order.choice((0, math.pi / 2, order.uniform(0, math.pi)))
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    along, across = (x * math.cos(a) + y * math.sin(a) for a in (angle, angle + math.pi / 2))
    odd = np.floor(along / width) % 2
    if order.random() < 0.5:
        odd = (odd + np.floor(across / width)) % 2
    first, second = np.array(_colour(order)), np.array(_colour(order))
    return Image.fromarray(np.where(odd[..., None] == 1, first, second).astype(np.uint8))


def _shapes(order: random.Random, size: _Size) -> Image.Image:
    picture = _plain(order, size)
    pen = ImageDraw.Draw(picture)
    for _ in range(order.randint(1, 12)):
        x, y = sorted(order.sample(range(size[0]), 2)), sorted(order.sample(range(size[1]), 2))
        corners = (x[0], y[0], x[1], y[1])
        shape = order.choice((pen.ellipse, pen.rectangle))
        fill = _colour(order) if order.random() < 0.7 else None
        shape(corners, fill=fill, outline=_colour(order), width=order.randint(1, 8))
    return picture


def _chart(order: random.Random, size: _Size) -> Image.Image:
    """Bars or lines over axes."""
    picture = Image.new("RGB", size, order.choice(((255,) * 3, (250, 250, 245), (30, 30, 36))))
    pen = ImageDraw.Draw(picture)
    left, bottom = round(0.1 * size[0]), round(0.9 * size[1])
    pen.line((left, size[1] // 12, left, bottom, size[0] - left // 2, bottom), fill=(128,) * 3, width=2)
    steps = order.randint(4, 16)
    x = np.linspace(left, size[0] - left, steps + 1).round().astype(int).tolist()
    for _ in range(order.randint(1, 3)):
        colour = _colour(order)
        y = [order.randint(size[1] // 10, bottom) for _ in x]
        if order.random() < 0.5:
            pen.line(list(zip(x, y, strict=True)), fill=colour, width=order.randint(1, 4))
        else:
            for start, end, top in zip(x, x[1:], y, strict=False):
                pen.rectangle((start, top, (start + 3 * end) // 4, bottom), fill=colour)
    return picture


def _text(order: random.Random, size: _Size) -> Image.Image:
    """Lines of invented words."""
    picture = Image.new("RGB", size, order.choice(((255,) * 3, (245, 240, 225), _colour(order))))
    pen = ImageDraw.Draw(picture)
    height = order.randint(10, 60)
    dark = sum(picture.getpixel((0, 0))) < 3 * 128
    letters = order.choice(_ALPHABETS)
    for top in range(size[1] // 12, size[1] - size[1] // 12, round(1.4 * height)):
        words = ("".join(order.choices(letters, k=order.randint(2, 9))) for _ in range(size[0] // height))
        pen.text(
            (size[0] // 12, top),
            " ".join(words),
            fill=(235,) * 3 if dark else (25,) * 3,
            font=ImageFont.load_default(height),
        )
    return picture


_Kind = tuple[Callable[[random.Random, _Size], Image.Image], frozenset[str], frozenset[str]]
_KINDS: dict[str, _Kind] = {
    "plain": (_plain, frozenset(), frozenset()),
    "gradient": (_gradient, frozenset(), _SKIES),
    "noise": (_noise, frozenset(), frozenset()),
    "pattern": (_pattern, frozenset(), frozenset({"fabric"})),
    "shapes": (_shapes, frozenset(), _DRAWINGS),
    "chart": (_chart, frozenset(), _DRAWINGS | {"text", "paper"}),
    "text": (_text, frozenset({"text"}), _DRAWINGS | {"paper"}),
}
"""Kind -> how it is drawn, the names that apply, and those that may."""
