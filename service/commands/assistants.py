"""`sigrl mcp`: tags photographs for assistants that speak the Model Context Protocol."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from sigrl import version
from sigrl.service.commands.tag import CheckpointOption
from sigrl.service.errors import ParameterError, TaggerError

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from sigrl.service.settings import Settings
    from sigrl.service.tagging.tagger import Tagger

_INSTRUCTIONS = (
    "Says which labels apply to a photograph on this machine, each with a calibrated probability. Labels are "
    "plain English words or short phrases; each is judged independently of the others."
)
_MAX_LISTED = 1000


def mcp_command(checkpoint: CheckpointOption = None) -> None:
    """Tags photographs for an assistant, by the Model Context Protocol on standard input and output.

    Needs the extra `mcp`. The assistant starts this command itself, and can have every photograph tagged
    that you can read.
    """
    try:
        import mcp  # noqa: F401
    except ModuleNotFoundError as error:
        raise ParameterError(
            "the Model Context Protocol needs the package mcp, which is not installed",
            "pip install 'sigrl-tagger[mcp]'",
        ) from error

    from sigrl.service.settings import load_settings
    from sigrl.service.tagging.tagger import Tagger

    settings = load_settings(checkpoint=checkpoint)
    assistant_server(Tagger.from_settings(settings), settings).run("stdio")


def assistant_server(tagger: "Tagger", settings: "Settings") -> "MCPServer":
    """The server with its tools, not yet running."""
    from mcp.server.mcpserver import Image, MCPServer
    from pydantic import Field

    from sigrl.model.vocabulary import Vocabulary
    from sigrl.service.drawing.heat_maps import overlay_png
    from sigrl.service.images.files import ImageLimits, read
    from sigrl.service.schemas.tagging import Tagging
    from sigrl.service.vocabularies.builtin import find
    from sigrl.service.vocabularies.registry import VocabularyRegistry

    limits = ImageLimits.of(settings)
    server = MCPServer("sigrl", version=version(), instructions=_INSTRUCTIONS, log_level="WARNING")
    Photograph = Annotated[str, Field(description="Path of the photograph on this machine.")]
    Labels = Annotated[list[str] | None, Field(description="What to look for, in place of a vocabulary.")]
    Name = Annotated[str | None, Field(description="Name of a vocabulary, in place of labels.")]
    TopK = Annotated[int | None, Field(description="Return this many labels, whether accepted or not.")]

    @server.tool()
    def tag(
        photograph: Photograph, labels: Labels = None, vocabulary: Name = None, top_k: TopK = None
    ) -> Tagging:
        """Says which labels apply to a photograph, most probable first. Without labels and vocabulary, at
        most ten everyday labels that almost certainly apply."""
        with _errors_shown():
            if labels is not None and vocabulary is not None:
                raise ParameterError("both labels and a vocabulary are given", "give one of them")
            asked: Vocabulary | list[str] | None = labels
            if vocabulary is not None:
                asked = find(vocabulary, settings)
            return tagger.tag(Path(photograph), asked, top_k=top_k)

    @server.tool(structured_output=False)
    def explain(photograph: Photograph, label: Annotated[str, Field(description="What to look for.")]) -> Any:
        """Shows where in a photograph a label is seen: the photograph in grey under a map from violet, for
        the place that speaks least for the label, to yellow. The probability says whether it applies."""
        with _errors_shown():
            explanation = tagger.explain(Path(photograph), [label])
            (found,) = explanation.tags
            content = read(Path(photograph), limits)
            drawn = overlay_png(content, limits, found.grid, explanation.square)
        verdict = "applies" if found.accepted else "does not apply"
        return [f"{label} {verdict}: probability {found.probability:.2f}", Image(data=drawn, format="png")]

    @server.tool()
    def vocabularies() -> dict[str, int]:
        """The vocabularies that `tag` can use, and how many labels each has."""
        registry = VocabularyRegistry.open(settings)
        try:
            return {entry.name: entry.size for entry in registry.entries("", _MAX_LISTED)}
        finally:
            registry.close()

    return server


@contextmanager
def _errors_shown() -> Iterator[None]:
    """Turns our errors into those that the assistant is shown; it learns nothing of others."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        yield
    except TaggerError as error:
        raise ToolError(str(error)) from error
