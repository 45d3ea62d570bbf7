"""Runs a bundle's graphs in ONNX Runtime sessions, on the CPU or the GPU. Imports without torch."""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from sigrl.model.graph_engine import GraphError
from sigrl.model.manifest import WEIGHTS
from sigrl.model.processors import available_processors

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""ONNX Runtime's providers for each kind of device, the preferred one first."""


class Graph:
    """One graph. Several threads may call it at once."""

    def __init__(self, content: bytes, weights: bytes, device: str) -> None:
        """`weights` is the content of the file that the graph refers to. Raises GraphError, and ValueError
        for a device that does not work here."""
        kind, _, number = device.partition(":")
        options = onnxruntime.SessionOptions()
        # An idle graph must not use the processor or keep its peak memory while another graph runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False
        options.intra_op_num_threads = available_processors()
        options.log_severity_level = 4
        options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
        providers = [(name, _provider_options(name, number)) for name in PROVIDERS[kind]]
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # the library's errors have no narrower base
            raise (GraphError if kind == "cpu" else ValueError)(_first_line(error)) from error
        if self._session.get_providers()[0] != PROVIDERS[kind][0]:
            raise ValueError(f"ONNX Runtime found no use for its {PROVIDERS[kind][0]} on this machine")
        self._inputs = [node.name for node in self._session.get_inputs()]

    def __call__(self, **arrays: npt.NDArray[Any]) -> list[npt.NDArray[np.float32]]:
        """See `sigrl.model.graph_engine.Graph`."""
        outputs: list[npt.NDArray[np.float32]] = self._session.run(
            None, {name: arrays[name] for name in self._inputs}
        )
        return outputs


def open_graphs(
    contents: Mapping[str, bytes], weights: bytes, device: str | None
) -> tuple[dict[str, Graph], str]:
    """The graphs by name, all on one device, and the kind of that device.

    `device` is "cpu", "cuda" or "tensorrt", with ":1" for the second GPU; the default is CUDA if it works,
    else the CPU. Raises GraphError, and ValueError for a device that cannot be used.
    """
    if device is None:
        if PROVIDERS["cuda"][0] in onnxruntime.get_available_providers():
            try:
                return open_graphs(contents, weights, "cuda")
            except ValueError:
                pass  # The package is installed, but the GPU or its libraries are missing.
        return open_graphs(contents, weights, "cpu")
    kind, _, number = device.partition(":")
    printed = io.StringIO()
    try:
        if kind not in PROVIDERS or not (number or "0").isdecimal():
            raise ValueError("write cpu, cuda or tensorrt, and a GPU's number as in cuda:1")
        if PROVIDERS[kind][0] not in onnxruntime.get_available_providers():
            raise ValueError(
                f"the installed onnxruntime has no {PROVIDERS[kind][0]}: install onnxruntime-gpu"
            )
        if kind != "cpu":
            # It prints the missing CUDA libraries to stdout.
            with redirect_stdout(printed):
                onnxruntime.preload_dlls()
        return {name: Graph(content, weights, device) for name, content in contents.items()}, kind
    except ValueError as error:
        details = "; ".join([str(error), *printed.getvalue().splitlines()[:1]])
        raise ValueError(
            f"the device {device!r} cannot be used ({details}): use cpu, or leave it out"
        ) from error


def _provider_options(provider: str, number: str) -> dict[str, str]:
    if provider == "CPUExecutionProvider":
        return {}
    # TensorFloat-32 keeps ten bits of each factor: scores would be off by more than a thousandth.
    exact = {"use_tf32": "0"} if provider == "CUDAExecutionProvider" else {}
    return {"device_id": number or "0"} | exact


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
