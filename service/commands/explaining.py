"""`sigrl tag --explain`: from a photograph to a picture of where its tags are seen."""

from pathlib import Path

from sigrl.service.bulk.tag_sources import ExplainingSource
from sigrl.service.drawing.explanations import PANEL, draw_explanation
from sigrl.service.drawing.files import save
from sigrl.service.images import decoding as images
from sigrl.service.images.files import ImageLimits, read
from sigrl.service.schemas.tagging import Explanation
from sigrl.service.tagging.explaining import MAX_MAPS
from sigrl.service.tagging.selection import GUESSES
from sigrl.service.terminal import printable

MAX_SHOWN = 6
"""Labels on a picture if nothing is said."""


def explain_photograph(
    source: ExplainingSource, path: Path, out: Path, top_k: int | None, limits: ImageLimits
) -> Explanation:
    """Draws where on a photograph its labels are seen, and says what is drawn: the `top_k` most probable;
    with nothing said those that hold, at most six, or the best three as guesses where none does.

    Raises ImageError, ParameterError where `out` cannot be written, and what the source raises.
    """
    explanation = source.explain(path, top_k or MAX_MAPS)
    if top_k is None:
        holding = tuple(tag for tag in explanation.tags if tag.accepted)
        shown = holding[:MAX_SHOWN] or explanation.tags[:GUESSES]
        explanation = explanation.model_copy(update={"tags": shown})
    with images.open_image(read(path, limits), limits) as image:
        photograph = images.to_rgb(image, PANEL)
    save(draw_explanation(photograph, printable(Path(path.name)), explanation), out)
    return explanation
