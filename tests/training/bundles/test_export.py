"""`sigrl-train export`: what it writes, and what it refuses to write."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from safetensors.numpy import save

from sigrl.model.bundle import load_bundle
from sigrl.model.bundle_files import BundleFiles, read_files
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training import cli
from sigrl.training.bundles import export as task
from sigrl.training.bundles.export import export
from sigrl.training.bundles.onnx_files import to_onnx
from sigrl.training.bundles.onnx_graphs import STEPS, Step

GRAPHS = {"image_tower", "text_tower", "match", "explain", "refine"}


@pytest.fixture(scope="module")
def exported(towers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `towers`, exported by the command."""
    directory = tmp_path_factory.mktemp("exported") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sigrl-train", "export", str(towers), "-o", str(directory)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
    assert caught.value.code == 0
    return directory


@pytest.fixture
def done_before(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes repeated exports fast: the graphs come from `exported`."""
    contents = read_files(exported).contents
    names = {step: name for name, step in STEPS.items()}
    monkeypatch.setattr(task, "to_onnx", lambda step, *_: contents[f"{names[type(step)]}.onnx"])


def test_exported_bundle_adds_only_the_graphs(exported: Path, towers: Path) -> None:
    old, new = read_files(towers), read_files(exported)
    assert set(new.contents) == set(old.contents) | {f"{name}.onnx" for name in GRAPHS}
    assert all(new.contents[name] == content for name, content in old.contents.items())
    assert new.checkpoint_id != old.checkpoint_id
    entry = new.manifest.provenance["export"]
    assert entry["format"] == "ONNX, opset 20, float32"
    assert 0 < entry["largest_relative_difference"] < 1e-5
    assert new.manifest.provenance == {**old.manifest.provenance, "export": entry}


def test_onnx_and_torch_engines_give_the_same_scores(exported: Path) -> None:
    pixels = np.random.default_rng(1).standard_normal((4, 3, 64, 64), dtype=np.float32)
    vocabulary = Vocabulary.from_names(["dog", "a word never seen", "red cat"])
    ours, expected = (
        engine.score(engine.encode_images(pixels), engine.encode_labels(vocabulary))
        for engine in (OnnxEngine.load(exported), TorchEngine.load(exported, "cpu", precision="float32"))
    )
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_graph_weights_stay_in_float16_and_int8(exported: Path) -> None:
    files = read_files(exported)
    for name, kinds in (("image_tower", {TensorProto.FLOAT16}), ("text_tower", {TensorProto.INT8})):
        graph = onnx.load_from_string(files.contents[f"{name}.onnx"]).graph
        matrices = [tensor for tensor in graph.initializer if len(tensor.dims) > 1 and min(tensor.dims) > 1]
        assert {tensor.data_type for tensor in matrices} <= kinds | {TensorProto.FLOAT16}
        assert kinds <= {tensor.data_type for tensor in matrices}


def test_graphs_have_named_dynamic_axes_and_no_source_paths(exported: Path) -> None:
    for name, shapes in {
        "image_tower": [["photographs", 3, 64, 64]],
        "text_tower": [["texts", "tokens"]],
        "match": [["photographs", 32], ["block", 32], ["photographs", 4, 32]],
    }.items():
        content = read_files(exported).contents[f"{name}.onnx"]
        graph = onnx.load_from_string(content).graph
        found = [
            [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            for value in graph.input
        ]
        assert found == shapes
        assert b".py" not in content


@pytest.mark.usefixtures("done_before")
def test_an_exported_bundle_can_be_exported_again(exported: Path) -> None:
    assert read_files(exported).contents == export(exported, lambda *_: None).contents


@pytest.mark.usefixtures("done_before")
def test_export_progress_reaches_its_total(towers: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    export(towers, lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == list(range(len(GRAPHS) + 2))
    assert {total for _, _, total in seen} == {len(GRAPHS) + 1}


@pytest.mark.usefixtures("done_before")
def test_export_that_differs_from_pytorch_is_not_written(
    sigrl_train, towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = OnnxEngine.score
    for wrong in (1.001, np.nan):
        monkeypatch.setattr(OnnxEngine, "score", lambda *arguments, by=wrong: by * score(*arguments))
        status, _, err = sigrl_train("export", towers, "-o", tmp_path / "new")
        assert status == 2
        assert "scores differ by" in err
        assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_unsupported_onnx_operator_is_reported(
    sigrl_train, towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        try:
            raise RuntimeError("no such operator\nhint: write it")
        except RuntimeError as error:
            raise ValueError("Failed to export.\nThis is step 2/3.") from error

    monkeypatch.setattr(task, "to_onnx", fail)
    status, _, err = sigrl_train("export", towers, "-o", tmp_path / "new")
    assert status == 2
    assert "there is no ONNX form of explain.onnx (no such operator)" in err
    assert len(err.splitlines()) == 1


def test_invalid_usage_is_rejected_before_exporting(
    sigrl_train, towers: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "export", None)
    assert "name a new directory" in sigrl_train("export", towers, "-o", exported)[2]
    monkeypatch.setitem(sys.modules, "sigrl.training.bundles.export", None)
    assert "pip install" in sigrl_train("export", towers, "-o", tmp_path / "new")[2]


def test_folder_without_a_bundle_is_rejected(sigrl_train, tmp_path: Path) -> None:
    status, _, err = sigrl_train("export", tmp_path, "-o", tmp_path / "new")
    assert status == 2
    assert "manifest.json" in err


def test_weight_that_is_not_in_the_bundle_is_rejected() -> None:
    class Product(Step):
        inputs = ("rows n2",)
        outputs = ("product",)

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.eye(2))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows @ self.weight

    sizes = {"n": 3, "2": 2}
    assert to_onnx(Product(), sizes, save({"weight": np.eye(2, dtype=np.float16)}))
    with pytest.raises(ValueError, match="`weight` is not the one"):
        to_onnx(Product(), sizes, save({"weight": np.ones((2, 2), np.float16)}))


def test_recording_metrics_keeps_the_graphs(
    sigrl_train, exported: Path, config_file: Path, tmp_path: Path
) -> None:
    recorded = tmp_path / "recorded"
    assert sigrl_train("evaluate", exported, "--config", config_file, "--record", recorded)[0] == 0
    files: BundleFiles = read_files(recorded)
    assert files.contents == read_files(exported).contents
    assert "metrics" in files.manifest.provenance
    assert load_bundle(recorded).manifest == files.manifest
