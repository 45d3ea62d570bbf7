"""`python -m benchmarks.training_hours`: hours per run of the paper's protocols, computed, not measured.

Operations are counted (a multiply-add as two) and divided by a share of the data sheet's rate for dense
bfloat16 products with float32 sums. Loading photographs is not included: the last column gives the required
rate.
"""

from dataclasses import dataclass

from benchmarks.measuring import markdown_table

GPUS = {"H100 SXM": 989e12, "A100": 312e12, "RTX 4090": 165e12, "L4": 121e12}
"""Operations per second, from data sheets."""
UTILIZATION = 0.35
"""Share of that rate that others report for ViT training; no GPU was available to measure it."""
WIDTH, LAYERS, EMBED_DIM = 768, 12, 512
RESNET50 = 4.1e9 * 2 * (448 / 224) ** 2
"""Operations of one forward pass at 448 pixels."""
RECOMPUTED = 4
"""Forward passes that a training step of SVFR costs: forward, recomputation, and two gradient products."""


def vit_b16(pixels: int) -> float:
    """Operations of one forward pass."""
    tokens = (pixels // 16) ** 2 + 1
    return 2 * LAYERS * (12 * tokens * WIDTH**2 + 2 * tokens**2 * WIDTH)


def svfr(pixels: int, labels: int) -> float:
    """Operations of one forward pass of both steps."""
    return 4 * (pixels // 16) ** 2 * labels * EMBED_DIM**2


@dataclass(frozen=True)
class Protocol:
    """One row of a paper's table."""

    name: str
    photographs: int
    """Training photographs over all epochs and seeds."""
    trained: float
    """Operations per training photograph."""
    tested: float
    """Operations of the whole test."""


def open_vocabulary(name: str, labels: int, tested_labels: int) -> Protocol:
    """NUS-WIDE: 20 epochs. Student and teacher share the frozen blocks; through the last two, both make a
    forward pass and the student a backward pass, which costs two."""
    tower = vit_b16(224)
    trained = tower * (1 + 3 * 2 / LAYERS) + RECOMPUTED * svfr(224, labels)
    return Protocol(name, 20 * 161_789, trained, 107_859 * (tower + svfr(224, tested_labels)))


def single_positive(name: str, photographs: int, tested: int, forward: float, head: float) -> Protocol:
    """Ten epochs with three seeds, end to end; each epoch scores the validation part (a fifth)."""
    scored = 10 * photographs / 4 + tested
    trained = 3 * forward + RECOMPUTED * head
    return Protocol(name, 3 * 10 * photographs, trained, 3 * scored * (forward + head))


def protocols() -> list[Protocol]:
    """The rows of the table."""
    rows = [
        open_vocabulary("NUS-WIDE, sigrl", 925, 81 + 1006),
        open_vocabulary("NUS-WIDE, mkt, biam or clip", 0, 0),
    ]
    for name, train, test, labels in (("VOC", 4_574, 5_823, 20), ("COCO", 65_665, 40_137, 80)):
        clip = vit_b16(224)
        rows += [
            single_positive(f"{name}, 3 seeds, CLIP with sigrl", train, test, clip, svfr(224, labels)),
            single_positive(f"{name}, 3 seeds, CLIP with linear", train, test, clip, 0),
            single_positive(f"{name}, 3 seeds, ResNet-50 at 448", train, test, RESNET50, 0),
        ]
    return rows


def main() -> None:
    """Print the table."""
    rows = []
    for protocol in protocols():
        total = protocol.photographs * protocol.trained + protocol.tested
        hours = [total / (rate * UTILIZATION) / 3600 for rate in GPUS.values()]
        needed = GPUS["A100"] * UTILIZATION / protocol.trained
        cells = [f"{protocol.trained / 1e9:.0f}", *(f"{one:.1f}" for one in hours), f"{needed:.0f}"]
        rows.append([protocol.name, *cells])
    header = ["computed, not measured", "GFLOP per trained photograph", *(f"{gpu}, hours" for gpu in GPUS)]
    print(markdown_table([*header, "photographs/s an A100 would take"], rows))


if __name__ == "__main__":
    main()
