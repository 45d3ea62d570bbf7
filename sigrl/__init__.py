"""SigRL Tagger: photographs and labels in your own words in, tags with probabilities out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sigrl.service.tagging.tagger import Tagger

__all__ = ["Tagger", "version"]


def version() -> str:
    """Version of the installed distribution, or "uninstalled" in a bare source tree."""
    from importlib import metadata

    try:
        return metadata.version("sigrl-tagger")
    except metadata.PackageNotFoundError:
        return "uninstalled"


def __getattr__(name: str) -> Any:
    # Importing the package must cost nothing: the command line prints its help without Pillow and numpy.
    if name == "Tagger":
        from sigrl.service.tagging.tagger import Tagger

        return Tagger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
