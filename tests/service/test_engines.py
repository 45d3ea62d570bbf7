"""Settings choose the engine; what a machine or a bundle lacks is said in words."""

import sys

import pytest

from sigrl import Tagger
from sigrl.model.kernels.cpu_steps import CpuSteps
from sigrl.service.errors import CheckpointError, ParameterError
from sigrl.service.settings import load_settings
from sigrl.service.tagging.engines import load_engine


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_precision_is_the_settings(tiny_bundle, precision):
    engine = load_engine(tiny_bundle, load_settings(precision=precision))
    assert engine.precision == precision
    assert engine.preprocessing.image_size == 64


def test_a_tagger_obeys_the_environment(tiny_bundle, monkeypatch):
    monkeypatch.setenv("SIGRL_PRECISION", "int8")
    assert Tagger(tiny_bundle).engine.precision == "int8"


def test_compiled_reaches_the_kernels(tiny_bundle, monkeypatch):
    asked = []

    def record(self, precision, *, compiled):
        asked.append((precision, compiled))
        make(self, precision, compiled=False)

    make = CpuSteps.__init__
    monkeypatch.setattr(CpuSteps, "__init__", record)
    load_engine(tiny_bundle, load_settings(precision="int8", compiled=True))
    assert asked == [("int8", True)]


def test_a_bundle_without_graphs_says_how_to_export_them(tiny_bundle):
    pytest.importorskip("onnxruntime")
    with pytest.raises(CheckpointError, match=r"export.*--onnx"):
        load_engine(tiny_bundle, load_settings(engine="onnx"))


def test_an_engine_that_is_not_installed_is_named(tiny_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "sigrl.model.onnx_engine", None)
    with pytest.raises(ParameterError, match="'onnx' cannot be used"):
        load_engine(tiny_bundle, load_settings(engine="onnx"))


def test_a_precision_that_the_device_lacks_is_refused(tiny_bundle, monkeypatch):
    monkeypatch.setattr("sigrl.model.torch_engine.choose_precision", _refuse)
    with pytest.raises(ParameterError, match="int8 is for CPUs"):
        load_engine(tiny_bundle, load_settings(precision="int8"))


def _refuse(*_):
    raise ValueError("int8 is for CPUs only")


@pytest.mark.parametrize(("variable", "value"), [("ENGINE", "tpu"), ("PRECISION", "float8")])
def test_a_wrong_setting_names_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(f"SIGRL_{variable}", value)
    with pytest.raises(ParameterError, match=f"SIGRL_{variable} is '{value}'"):
        load_settings()
