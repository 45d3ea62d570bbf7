"""Settings choose the engine; what a machine or a bundle lacks is said in words."""

import sys

import pytest

from sigrl import Tagger
from sigrl.model.kernels.cpu_steps import CpuSteps
from sigrl.service.errors import CheckpointError, ParameterError
from sigrl.service.settings import load_settings
from sigrl.service.tagging import engines
from sigrl.service.tagging.engines import choose_engine, load_engine


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_engine_precision_follows_the_setting(tiny_bundle, precision):
    engine = load_engine(tiny_bundle, load_settings(precision=precision))
    assert engine.precision == precision
    assert engine.preprocessing.image_size == 64


def test_tagger_uses_environment_settings(tiny_bundle, monkeypatch):
    monkeypatch.setenv("SIGRL_PRECISION", "int8")
    assert Tagger(tiny_bundle).engine.precision == "int8"


def test_compiled_setting_is_passed_to_the_kernels(tiny_bundle, monkeypatch):
    asked = []

    def record(self, precision, *, compiled):
        asked.append((precision, compiled))
        make(self, precision, compiled=False)

    make = CpuSteps.__init__
    monkeypatch.setattr(CpuSteps, "__init__", record)
    load_engine(tiny_bundle, load_settings(precision="int8", compiled=True))
    assert asked == [("int8", True)]


def test_onnx_engine_without_graphs_error_names_the_export_command(tiny_bundle):
    pytest.importorskip("onnxruntime")
    with pytest.raises(CheckpointError, match=r"sigrl-train export BUNDLE"):
        load_engine(tiny_bundle, load_settings(engine="onnx"))


def test_missing_engine_package_is_reported(tiny_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "sigrl.model.onnx_engine", None)
    with pytest.raises(ParameterError, match="'onnx' cannot be used"):
        load_engine(tiny_bundle, load_settings(engine="onnx"))


@pytest.fixture
def found(monkeypatch):
    """Sets what is installed, whether there is a GPU, and whether the bundle has graphs."""

    def found(*packages, gpu=False, graphs=True):
        monkeypatch.setattr(engines, "find_spec", lambda name: name if name in packages else None)
        monkeypatch.setattr(engines, "_has_gpu", lambda: gpu)
        monkeypatch.setattr(engines, "has_graphs", lambda _: graphs)

    return found


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (("torch", "openvino", "onnxruntime"), "openvino"),
        (("openvino",), "openvino"),
        (("torch", "onnxruntime"), "onnx"),
        (("onnxruntime",), "onnx"),
        (("torch",), "torch"),
    ],
)
def test_cpu_uses_the_fastest_installed_engine(found, installed, expected):
    found(*installed)
    assert choose_engine(None, load_settings()) == expected


def test_gpu_uses_pytorch(found):
    found("torch", "openvino", gpu=True)
    assert choose_engine(None, load_settings()) == "torch"


@pytest.mark.parametrize("settings", [{"precision": "int8"}, {"compiled": True}])
def test_settings_only_pytorch_supports_select_pytorch(found, settings):
    found("torch", "openvino")
    assert choose_engine(None, load_settings(**settings)) == "torch"


def test_engine_setting_is_respected(found):
    found("torch", "openvino", gpu=True)
    assert choose_engine(None, load_settings(engine="onnx")) == "onnx"


def test_bundle_without_graphs_uses_pytorch_and_logs_it_once(found, caplog):
    found("torch", "openvino", graphs=False)
    engines._tell_of_missing_graphs.cache_clear()
    caplog.set_level("INFO", "sigrl")
    assert {choose_engine(None, load_settings()) for _ in range(3)} == {"torch"}
    assert caplog.text.count("sigrl-train export") == 1


def test_unsupported_precision_is_rejected(tiny_bundle, monkeypatch):
    monkeypatch.setattr("sigrl.model.torch_engine.choose_precision", _refuse)
    with pytest.raises(ParameterError, match="int8 is for CPUs"):
        load_engine(tiny_bundle, load_settings(precision="int8"))


def _refuse(*_):
    raise ValueError("int8 is for CPUs only")


@pytest.mark.parametrize(("variable", "value"), [("ENGINE", "tpu"), ("PRECISION", "float8")])
def test_invalid_setting_error_names_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(f"SIGRL_{variable}", value)
    with pytest.raises(ParameterError, match=f"SIGRL_{variable} is '{value}'"):
        load_settings()
