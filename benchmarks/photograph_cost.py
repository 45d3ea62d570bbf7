"""What one photograph costs, in milliseconds of processor time:

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.photograph_cost

The steps are measured in this process, with the variable that `sigrl serve` sets for itself. The whole is
what the server and its decoders use, alone and at sixteen clients. The difference, "HTTP and the rest", is
parsing, permits, threads, metrics and logs. Processor time is comparable on a busy machine; seconds are not.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.load import Target
from benchmarks.measuring import markdown_table
from benchmarks.servers import ROOT, SERVE, environment, free_port, running
from sigrl.model.preprocess import preprocess
from sigrl.service.images.decoding import open_image, to_rgb
from sigrl.service.images.decoding_cost import decoding_cost
from sigrl.service.images.files import ImageLimits
from sigrl.service.settings import load_settings
from sigrl.service.tagging.scoring import Question, Scores
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger

CLIENTS = {"alone": 1, "at 16 clients": 16}
BATCH = {"alone": 1, "at 16 clients": 8}
SIZES = {"400 px": (400, 267), "12 MP": (4000, 3000)}
TIMES = 15
SECONDS = 12.0
REST = "HTTP and the rest"


def photograph(size: tuple[int, int]) -> bytes:
    """The cat of the examples as a JPEG of this size."""
    content = io.BytesIO()
    with Image.open(ROOT / "examples" / "cat.jpg") as image:
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(content, "JPEG", quality=90)
    return content.getvalue()


def milliseconds(step: Callable[[], object]) -> float:
    """Median processor time of the whole process, after a first call that does not count."""
    step()
    found = []
    for _ in range(TIMES):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return 1000 * statistics.median(found)


def steps(tagger: Tagger, data: bytes, batch: int) -> dict[str, float]:
    """Milliseconds a photograph of each step, for batches of `batch`."""
    engine, limits = tagger.engine, ImageLimits()
    side = engine.preprocessing.image_size
    rgb = to_rgb(open_image(data, limits), 2 * side)
    pixels = np.stack([preprocess(rgb, engine.preprocessing)] * batch)
    images, labels = engine.encode_images(pixels), tagger.labels.features(tagger.vocabulary)
    logits = engine.score(images, labels)
    scores = Scores(logits[0], engine.probabilities(logits, labels)[0])
    question = Question(engine, tagger.vocabulary, labels, Selection(brief=True))
    tagging = question.answer(scores)
    each: dict[str, Callable[[], object]] = {
        "header": lambda: decoding_cost(data, limits),
        "decode": lambda: to_rgb(open_image(data, limits), 2 * side),
        "resize": lambda: preprocess(rgb, engine.preprocessing),
        "settle and select": lambda: question.answer(scores),
        "JSON": tagging.model_dump_json,
    }
    whole: dict[str, Callable[[], object]] = {
        "tower": lambda: engine.encode_images(pixels),
        "head": lambda: engine.probabilities(engine.score(images, labels), labels),
    }
    found = {name: milliseconds(step) for name, step in each.items()}
    found |= {name: milliseconds(step) / batch for name, step in whole.items()}
    return {name: found[name] for name in ("header", "decode", "resize", *whole, "settle and select", "JSON")}


def served(data: dict[str, bytes], scratch: Path) -> dict[tuple[str, str], float]:
    """Milliseconds a photograph that a server and its decoders use, for each size and number of clients."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1/tag"
    command = [*SERVE, str(port)]
    variables = environment(scratch, "none", "data", {"SIGRL_VOCABULARY": "default"})
    del variables["SIGRL_CHECKPOINT"]
    found = {}
    with running(command, variables, scratch / "server.log", Target(url, [data["400 px"]])):
        (server,) = (each for each in psutil.Process().children() if str(port) in " ".join(each.cmdline()))
        for size, content in data.items():
            target = Target(url, [content])
            for name, clients in CLIENTS.items():
                target.saturate(SECONDS / 4, clients)
                before = _used(server)
                outcome = target.saturate(SECONDS, clients)
                found[size, name] = 1000 * (_used(server) - before) / len(outcome.latencies)
    return found


def _used(server: psutil.Process) -> float:
    """Seconds of processor time that a process and its children have used."""
    times = [each.cpu_times() for each in (server, *server.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def main() -> None:
    """Prints the table of docs/benchmarks.md."""
    data = {name: photograph(size) for name, size in SIZES.items()}
    tagger = Tagger.from_settings(load_settings())
    columns = [(size, name) for size in SIZES for name in CLIENTS]
    parts = {(size, name): steps(tagger, data[size], BATCH[name]) for size, name in columns}
    with tempfile.TemporaryDirectory() as scratch:
        whole = served(data, Path(scratch))
    rows = [[step, *(f"{parts[column][step]:.2f}" for column in columns)] for step in parts[columns[0]]]
    rest = {column: whole[column] - sum(parts[column].values()) for column in columns}
    beyond = {column: whole[column] - parts[column]["tower"] for column in columns}
    for name, values in ((REST, rest), ("**all, served**", whole), ("**beyond the tower**", beyond)):
        rows.append([name, *(f"{values[column]:.2f}" for column in columns)])
    header = ["CPU ms a photograph", *(f"{size}, {name}" for size, name in columns)]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
