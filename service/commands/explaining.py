"""`sigrl tag --explain`: draws where in a photograph its tags are seen."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from sigrl.service.bulk.tag_sources import ExplainingSource
from sigrl.service.drawing.explanations import PANEL, draw_explanation
from sigrl.service.drawing.files import save
from sigrl.service.schemas.tagging import Explanation
from sigrl.service.tagging.selection import GUESSES
from sigrl.service.terminal import printable

MAX_SHOWN = 6
"""Labels in a picture by default."""


def explain_photograph(
    source: ExplainingSource,
    path: Path,
    out: Path,
    top_k: int | None,
    copy: Callable[[Path, int], Image.Image],
) -> Explanation:
    """Draws where in a photograph its labels are seen, and returns what was drawn: the `top_k` most probable
    labels; by default its tags, at most six, or the best three as guesses if it has none. `copy` is
    `sigrl.service.commands.pictures.small_copy`.

    Raises ImageError, ParameterError if `out` cannot be written, and whatever the source raises.
    """
    explanation = source.explain(path, top_k)
    if top_k is None:
        accepted = tuple(tag for tag in explanation.tags if tag.accepted)
        shown = accepted[:MAX_SHOWN] or explanation.tags[:GUESSES]
        explanation = explanation.model_copy(update={"tags": shown})
    save(draw_explanation(copy(path, 2 * PANEL), printable(Path(path.name)), explanation), out)
    return explanation
