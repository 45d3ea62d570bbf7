"""Loads the engine that the settings choose. A framework is imported only when it is used, so that no command
waits for the import of another one."""

import ctypes
import logging
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from sigrl.model.bundle_files import BundleError, has_graphs
from sigrl.model.engine import Engine
from sigrl.service.errors import CheckpointError, ParameterError
from sigrl.service.settings import Settings
from sigrl.service.tagging.freed_memory import keep_freed_memory

EngineName = Literal["openvino", "onnx", "torch"]
_logger = logging.getLogger("sigrl")


def choose_engine(checkpoint: Path | None, settings: Settings) -> EngineName:
    """The name of the engine to use for a bundle, or for the one in the package if `checkpoint` is None."""
    if settings.engine != "auto":
        return settings.engine
    has_torch = find_spec("torch") is not None
    # Only PyTorch supports `compiled` and int8.
    if has_torch and (settings.compiled or settings.precision == "int8" or _has_gpu()):
        return "torch"
    if has_torch and not has_graphs(checkpoint):
        _tell_of_missing_graphs()
        return "torch"
    if find_spec("openvino") is not None:
        return "openvino"
    return "onnx" if find_spec("onnxruntime") is not None or not has_torch else "torch"


def load_engine(checkpoint: Path | str | None, settings: Settings) -> Engine:
    """Loads the engine for a bundle, or for the one in the package if `checkpoint` is None.

    Raises CheckpointError for a bundle that cannot be used, and ParameterError for an engine or a precision
    that is not available on this machine.
    """
    path = None if checkpoint is None else Path(checkpoint)
    name = choose_engine(path, settings)
    keep_freed_memory()
    try:
        if name == "openvino":
            from sigrl.model.openvino_engine import OpenVinoEngine

            return OpenVinoEngine.load(
                path,
                precision=settings.precision,
                threads=settings.threads,
                cache=settings.data / "compiled",
                svfr_labels=settings.svfr_labels,
            )
        if name == "onnx":
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
        hint = "reinstall sigrl-tagger" if checkpoint is None else "give no checkpoint to use the bundled one"
        if name != "torch":
            hint = "set SIGRL_CHECKPOINT to an exported bundle, or SIGRL_ENGINE to torch"
        raise CheckpointError(str(error), hint) from error
    except ImportError as error:
        raise ParameterError(
            f"the engine '{name}' cannot be used here: {error}",
            "install what it needs (the extra `onnx` for onnx) or set SIGRL_ENGINE to another",
        ) from error
    except ValueError as error:
        raise ParameterError(
            str(error),
            "change the variable that asks for it: SIGRL_PRECISION, SIGRL_COMPILED or SIGRL_ENGINE",
        ) from error


def _has_gpu() -> bool:
    """Whether PyTorch can use a GPU. Its import takes seconds, so this looks for a driver first."""
    if not Path("/dev/kfd").exists():  # AMD's
        try:
            ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        except OSError:
            return False
    import torch

    return torch.cuda.is_available()


@cache
def _tell_of_missing_graphs() -> None:
    _logger.info(
        "a checkpoint has no graphs, so PyTorch runs it: `sigrl-train export` makes a bundle that OpenVINO "
        "runs about three times as fast on a processor"
    )
