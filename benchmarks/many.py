"""`python -m benchmarks.many`: many photographs in a folder, and many labels.

A folder is tagged by `sigrl tag --out` and, in turns with it, its photographs are only decoded and passed
through the tower. Two sizes of folder are run, so that the start of the command does not count. And batches
of eight photographs get the scores of 256 and of 10,000 labels in turns. Takes about three minutes.
"""

import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.measuring import interleaved, markdown_table
from benchmarks.photograph_cost import SIZES, photograph
from benchmarks.servers import SIGRL
from sigrl.model.processors import available_processors
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.images.decoding import open_image
from sigrl.service.images.files import ImageLimits, read
from sigrl.service.settings import load_settings
from sigrl.service.tagging.scoring import pixel_values
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.english import english_words

FEW, MANY = 200, 800
"""Photographs of the two folders."""
ROUNDS = 4
BATCH = 8
LABELS = (256, 10_000)
LABEL_ROUNDS = 15


def tagged(folder: Path, scratch: Path) -> float:
    """Seconds of `sigrl tag` for a folder."""
    output = scratch / f"{time.monotonic_ns()}.jsonl"
    start = time.perf_counter()
    subprocess.run([*SIGRL, "tag", folder, "--out", output], check=True, capture_output=True)
    return time.perf_counter() - start


def decoded_and_encoded(tagger: Tagger, paths: list[Path]) -> float:
    """Seconds to decode photographs and pass them through the tower, the next batch decoded meanwhile."""
    limits = ImageLimits()

    def decoded(path: Path) -> np.ndarray:
        with open_image(read(path, limits), limits) as image:
            return pixel_values(image, tagger.engine.preprocessing, may_shrink=True)

    start = time.perf_counter()
    with ThreadPoolExecutor(available_processors()) as threads:
        pixels = list(threads.map(decoded, paths[:BATCH]))
        for number in range(BATCH, len(paths) + BATCH, BATCH):
            following = threads.map(decoded, paths[number : number + BATCH])
            tagger.engine.encode_images(np.stack(pixels))
            pixels = list(following)
    return time.perf_counter() - start


def folder_milliseconds(tagger: Tagger) -> tuple[float, float]:
    """Milliseconds a photograph of a folder: tagged, and only decoded and encoded. Medians."""
    whole, parts = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folders, content = {}, photograph(SIZES["400 px"])
        for count in (FEW, MANY):
            folders[count] = Path(scratch, str(count))
            folders[count].mkdir()
            for number in range(count):
                (folders[count] / f"{number}.jpg").write_bytes(content)
        paths = sorted(folders[MANY].iterdir())
        decoded_and_encoded(tagger, paths[:FEW])
        for _ in range(ROUNDS):
            few, many = (tagged(folders[count], Path(scratch)) for count in (FEW, MANY))
            whole.append(1000 * (many - few) / (MANY - FEW))
            parts.append(1000 * decoded_and_encoded(tagger, paths[: MANY - FEW]) / (MANY - FEW))
    return statistics.median(whole), statistics.median(parts)


def label_milliseconds(tagger: Tagger) -> dict[int, float]:
    """Milliseconds a photograph of the tower and the scores, for each number of labels. Medians."""
    engine = tagger.engine
    side = engine.preprocessing.image_size
    pixels = np.random.default_rng(0).standard_normal((BATCH, 3, side, side), np.float32)
    names = sorted(english_words())
    sets = {count: engine.encode_labels(Vocabulary.from_names(names[:count])) for count in LABELS}

    def scored(count: int) -> object:
        images = engine.encode_images(pixels)
        return engine.probabilities(engine.score(images, sets[count]), sets[count])

    seconds = interleaved({count: (lambda count=count: scored(count)) for count in LABELS}, LABEL_ROUNDS)
    return {count: 1000 * each / BATCH for count, each in seconds.items()}


def main() -> None:
    """Prints the table of docs/benchmarks.md."""
    tagger = Tagger.from_settings(load_settings())
    whole, parts = folder_milliseconds(tagger)
    of_labels = label_milliseconds(tagger)
    few, many = (of_labels[count] for count in LABELS)
    rows = [
        ["a folder of 400-px photographs: decoded and through the tower", f"{parts:.1f}", "1.00"],
        ["a folder of 400-px photographs: `sigrl tag --out`", f"{whole:.1f}", f"{whole / parts:.2f}"],
        [f"batches of {BATCH} random arrays: tower and {LABELS[0]} labels", f"{few:.1f}", "1.00"],
        [
            f"batches of {BATCH} random arrays: tower and {LABELS[1]:,} labels",
            f"{many:.1f}",
            f"{many / few:.2f}",
        ],
    ]
    print(markdown_table(["", "ms a photograph", "ratio"], rows))


if __name__ == "__main__":
    main()
