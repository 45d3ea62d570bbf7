"""OnnxEngine beside what holds for every engine (test_engines.py): without torch, in blocks, on a device."""

import dataclasses
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from engine_bundles import NAMES, VOCABULARY

from sigrl.model import graph_engine, onnx_graphs
from sigrl.model.bundle_files import BundleError, read_files
from sigrl.model.manifest import WEIGHTS
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.vocabulary import Label, Vocabulary

WITHOUT_TORCH = """
import json, sys
from pathlib import Path

for name in ("torch", "torchvision", "open_clip", "timm", "onnx", "training"):
    sys.modules[name] = None  # an import raises

import numpy as np
from PIL import Image
from sigrl.model.preprocess import preprocess
from sigrl.model.vocabulary import Vocabulary

if sys.argv[1] == "onnx":
    from sigrl.model.onnx_engine import OnnxEngine

    engine = OnnxEngine.load(Path(sys.argv[2]), "cpu")
else:
    from sigrl.model.openvino_engine import OpenVinoEngine

    engine = OpenVinoEngine.load(Path(sys.argv[2]), precision="float32", threads=1)
pixels = preprocess(Image.new("RGB", (90, 70), "red"), engine.preprocessing)
images = engine.encode_images(pixels[None])
labels = engine.encode_labels(Vocabulary.from_names(sys.argv[3:]))
logits = engine.score(images, labels)
engine.explain(images, labels)
print(json.dumps([logits.tolist(), engine.probabilities(logits, labels).tolist(), pixels.tolist()]))
"""


@pytest.fixture
def pixels():
    return np.random.default_rng(0).standard_normal((2, 3, 64, 64), dtype=np.float32)


def test_sessions_use_one_thread_per_available_processor(make_exported, monkeypatch):
    monkeypatch.setattr(onnx_graphs, "available_processors", lambda: 3)
    files = read_files(make_exported("sigrl"))
    graphs, _ = onnx_graphs.open_graphs(
        {"text": files.contents["text_tower.onnx"]}, files.contents[WEIGHTS], "cpu"
    )
    assert graphs["text"]._session.get_session_options().intra_op_num_threads == 3


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("name", ["sigrl", "mkt-on-clip"])
def test_engine_imports_and_runs_without_torch(make_exported, name, runtime):
    directory = make_exported(name)
    command = [sys.executable, "-c", WITHOUT_TORCH, runtime, str(directory), *NAMES]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    logits, probabilities, pixel_values = json.loads(process.stdout)
    engine = OnnxEngine.load(directory, "cpu")
    images = engine.encode_images(np.array(pixel_values, np.float32)[None])
    labels = engine.encode_labels(VOCABULARY)
    ours = engine.score(images, labels)
    np.testing.assert_allclose(logits, ours, atol=1e-5)
    np.testing.assert_allclose(probabilities, engine.probabilities(ours, labels), atol=1e-6)


@pytest.mark.parametrize("name", ["sigrl", "sigrl-published", "mkt-published"])
def test_smallest_block_size_gives_the_same_results(make_exported, pixels, name, monkeypatch):
    """With the smallest block, one label at a time: no tensor of patches times labels can appear."""

    def answers():
        engine = OnnxEngine.load(make_exported(name), "cpu")
        images, labels = engine.encode_images(pixels), engine.encode_labels(VOCABULARY)
        return labels.refined, engine.score(images, labels), engine.explain(images, labels)

    expected = answers()
    monkeypatch.setitem(graph_engine.BLOCK_BYTES, "cpu", 1)
    widest = []
    call = onnx_graphs.Graph.__call__

    def watched(graph, **arrays):
        one_row = {"rows": 0, "labels": 0, "label_queries": 1}
        if "patch_tokens" in arrays:
            one_row["label_embeddings"] = 0
        widest.extend(array.shape[one_row[key]] for key, array in arrays.items() if key in one_row)
        return call(graph, **arrays)

    monkeypatch.setattr(onnx_graphs.Graph, "__call__", watched)
    for ours, whole in zip(answers(), expected, strict=True):
        np.testing.assert_allclose(ours, whole, rtol=0, atol=1e-5 * np.abs(whole).max())
    assert set(widest) == {1}
    assert len(widest) >= 2 * len(NAMES)


def test_onnx_requirements_match_pyproject_without_torch():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    known = {*project["dependencies"], *project["optional-dependencies"]["onnx"]}
    lines = (root / "requirements-onnx.txt").read_text().splitlines()
    wanted = {line for line in lines if not line.startswith("#")}
    assert wanted <= known
    needs_torch = ("torch", "open_clip", "timm", "accelerate", "filelock")
    assert all(requirement.startswith(needs_torch) for requirement in known - wanted)


def test_features_are_numpy_arrays(make_exported, pixels):
    engine = OnnxEngine.load(make_exported("sigrl"), "cpu")
    images, labels = engine.encode_images(pixels), engine.encode_labels(VOCABULARY)
    values = [getattr(part, field.name) for part in (images, labels) for field in dataclasses.fields(part)]
    assert labels.calibration is None
    arrays = [value for value in values if value is not images.grid and value is not None]
    assert [type(array) for array in arrays] == [np.ndarray] * 5
    assert images.grid == (2, 2)


def test_label_with_several_texts_averages_their_unit_embeddings(make_exported):
    engine = OnnxEngine.load(make_exported("mkt"), "cpu")
    apart = [
        engine.encode_labels(Vocabulary(labels=(Label(name=word),))).label_embeddings[0]
        for word in ("dog", "hound")
    ]
    both = engine.encode_labels(Vocabulary(labels=(Label(name="dog", synonyms=("hound",)),)))
    expected = np.mean([embedding / np.linalg.norm(embedding) for embedding in apart], axis=0)
    np.testing.assert_allclose(both.label_embeddings[0], expected, atol=1e-5)


def test_bundle_without_onnx_graphs_is_rejected(make):
    with pytest.raises(BundleError, match=r"'tiny' has no ONNX graphs.*sigrl-train export BUNDLE"):
        OnnxEngine.load(make("sigrl"))


def test_invalid_graphs_are_rejected(make_exported):
    files = read_files(make_exported("mkt"))
    broken = dataclasses.replace(files, contents={**files.contents, "match.onnx": b"no graph"})
    with pytest.raises(BundleError, match=r"a graph of the bundle cannot be loaded.*export it again"):
        OnnxEngine(broken)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_is_the_default_only_if_it_works(make_exported, monkeypatch):
    """A wheel names the providers it was built with, whether or not there is a GPU."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    if OnnxEngine.load(make_exported("mkt")).device == "cuda":
        pytest.skip("there is a GPU that works")
    with pytest.raises(ValueError, match=r"the device 'cuda' cannot be used.*use cpu, or leave it out"):
        OnnxEngine.load(make_exported("mkt"), "cuda")


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_missing_execution_provider_is_reported(make_exported, device, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match=r"has no \w+ExecutionProvider: install onnxruntime-gpu"):
        OnnxEngine.load(make_exported("mkt"), device)


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="needs onnxruntime-gpu"
)
def test_gpu_scores_match_cpu_scores(make_exported, pixels):
    def scores(device):
        engine = OnnxEngine.load(make_exported("sigrl"), device)
        return engine.score(engine.encode_images(pixels), engine.encode_labels(VOCABULARY))

    expected = scores("cpu")
    np.testing.assert_allclose(scores("cuda"), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
