"""`python -m benchmarks.replicas`: one and two Ray Serve replicas with one core each.

deploy/ray_serve.py serves a ViT-B/16 of random weights with SigRL's head (`pip install '.[bench,ray]'`). The
load is generated on the same cores. Takes about two minutes.
"""

import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import Outcome, Target
from benchmarks.measuring import markdown_table
from benchmarks.servers import ROOT, environment, free_port, ray_replicas, running
from benchmarks.subjects import vit_description, vit_model
from sigrl.model.bundle import save_bundle

CLIENTS = 16
ROUNDS = 3
SECONDS = 10.0


def main() -> None:
    """Prints the table of docs/scale.md."""
    photographs = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.jpg"))]
    most: dict[int, Outcome] = defaultdict(Outcome)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        save_bundle(
            scratch / "store" / "sigrl", vit_description("context"), vit_model("context").state_dict()
        )
        targets: dict[int, Target] = {}
        for count in (1, 2):
            port = free_port()
            target = targets[count] = Target(f"http://127.0.0.1:{port}/v1/tag", photographs)
            variables = environment(scratch, "sigrl", f"data-{port}", {})
            command = ray_replicas(scratch, port, count)
            stack.enter_context(running(command, variables, scratch / f"{port}.log", target))
        for target in targets.values():
            target.saturate(SECONDS / 2, CLIENTS)
        for _ in range(ROUNDS):
            for count, target in targets.items():
                most[count] += target.saturate(SECONDS, CLIENTS)
    alone = most[1].per_second
    rows = [
        [str(count), f"{each.per_second:.1f}", f"{each.per_second / alone:.2f}"]
        for count, each in most.items()
    ]
    print(markdown_table(["replicas of one core", "photographs/s at most", "ratio"], rows))


if __name__ == "__main__":
    main()
