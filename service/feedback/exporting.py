"""Exports feedback as a training set for `sigrl-train init photographs labels.jsonl`."""

import json
from collections.abc import Iterator

from sigrl.service.feedback.store import FeedbackStore
from sigrl.service.vocabularies.examples import Example

LABELS = "labels.jsonl"


def training_set(store: FeedbackStore) -> Iterator[tuple[str, bytes]]:
    """Yields (path, content) of each file: the photographs, then `labels.jsonl`, each line of which is an
    object with `image`, `positive` and `negative`."""
    lines: list[str] = []
    for feedback in store.all():
        path = f"photographs/{feedback.digest.removeprefix('sha256:')}.jpg"
        yield path, feedback.photograph
        lines.append(_line(path, feedback))
    yield LABELS, "".join(lines).encode()


def _line(path: str, feedback: Example) -> str:
    positive, negative = (
        sorted(tag for tag, applies in feedback.shown.items() if applies is wanted)
        for wanted in (True, False)
    )
    row = {"image": path, "positive": positive, "negative": negative}
    return json.dumps(row, ensure_ascii=False) + "\n"
