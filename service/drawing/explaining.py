"""`sigrl tag --explain`: from a photograph to a picture of where its tags are seen."""

from pathlib import Path

from service import images
from service.drawing.explanations import PANEL, draw_explanation
from service.drawing.files import save
from service.explaining import MAX_MAPS
from service.image_files import ImageLimits, read
from service.rendering import printable
from service.results import Explanation
from service.selection import GUESSES
from service.tag_sources import ExplainingSource

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
