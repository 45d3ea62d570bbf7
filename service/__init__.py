"""SigRL Tagger as a service, a command line and a Python object: `from service import Tagger`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.tagger import Tagger

__all__ = ["Tagger"]


def __getattr__(name: str) -> Any:
    # Importing the package must cost nothing: the command line prints its help without Pillow and numpy.
    if name == "Tagger":
        from service.tagger import Tagger

        return Tagger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
