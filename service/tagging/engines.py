"""From settings to an engine. Frameworks are imported here on use: who brings an engine pays for none."""

import ctypes
from contextlib import suppress
from pathlib import Path

from sigrl.model.bundle_files import BundleError
from sigrl.model.engine import Engine
from sigrl.service.errors import CheckpointError, ParameterError
from sigrl.service.settings import Settings

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
"""Each keeps what its threads have freed; by default there are eight for every core."""
_LARGEST_KEPT, _MOST_KEPT = 32 * 2**20, 256 * 2**20
"""Bytes of one piece of memory, and at the end of an arena."""


def load_engine(checkpoint: Path | str | None, settings: Settings) -> Engine:
    """The engine of a bundle; of the one in the package, if none is named.

    Raises CheckpointError for a bundle that cannot be used, ParameterError for an engine or a precision that
    this machine does not have.
    """
    path = None if checkpoint is None else Path(checkpoint)
    _keep_freed_memory()
    try:
        if settings.engine == "onnx":
            from sigrl.model.onnx_engine import OnnxEngine

            return OnnxEngine.load(path, svfr_labels=settings.svfr_labels)
        from sigrl.model.torch_engine import TorchEngine

        return TorchEngine.load(
            path,
            precision=settings.precision,
            compiled=settings.compiled,
            svfr_labels=settings.svfr_labels,
        )
    except BundleError as error:
        hint = "install sigrl-tagger anew" if checkpoint is None else "name none to use the bundled one"
        if settings.engine == "onnx":
            hint = "set SIGRL_CHECKPOINT to an exported bundle, or SIGRL_ENGINE to torch"
        raise CheckpointError(str(error), hint) from error
    except ImportError as error:
        raise ParameterError(
            f"the engine '{settings.engine}' cannot be used here: {error}",
            "install what it needs (the extra `onnx` for onnx) or set SIGRL_ENGINE to another",
        ) from error
    except ValueError as error:
        raise ParameterError(
            str(error),
            "change the variable that asks for it: SIGRL_PRECISION, SIGRL_COMPILED or SIGRL_ENGINE",
        ) from error


def _keep_freed_memory() -> None:
    """Has glibc keep what a forward pass frees for the next one. Given back to the system it comes as new
    pages, a hundred thousand of them for eight photographs and a ViT-B/16: a sixth of the time."""
    # Another C library has no such function, or nothing like `None` that could be opened.
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
        mallopt(_M_ARENA_MAX, _ARENAS)
