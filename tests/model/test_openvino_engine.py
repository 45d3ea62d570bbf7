"""OpenVinoEngine beside what is true of every engine (test_engines.py): precision, threads, its cache."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from engine_bundles import VOCABULARY, load_openvino

from sigrl.model import openvino_graphs
from sigrl.model.bundle_files import BundleError
from sigrl.model.openvino_engine import OpenVinoEngine
from sigrl.model.torch_engine import TorchEngine


@pytest.fixture
def pixels():
    return np.random.default_rng(0).standard_normal((2, 3, 64, 64), dtype=np.float32)


@pytest.fixture
def compiled(monkeypatch):
    """How often a graph was compiled, and not read from a folder."""
    calls = []
    read_model = openvino_graphs.openvino.Core.read_model

    def watched(core, *arguments, **options):
        calls.append(arguments)
        return read_model(core, *arguments, **options)

    monkeypatch.setattr(openvino_graphs.openvino.Core, "read_model", watched)
    return calls


def scores(engine, pixels):
    return engine.score(engine.encode_images(pixels), engine.encode_labels(VOCABULARY))


def test_second_load_uses_the_compile_cache_with_equal_scores(make_exported, pixels, tmp_path, compiled):
    first = scores(load_openvino(make_exported("mkt"), cache=tmp_path), pixels)
    assert len(compiled) == len(list(tmp_path.iterdir())) == 5
    again = load_openvino(make_exported("mkt"), cache=tmp_path)
    np.testing.assert_array_equal(scores(again, pixels), first)
    assert len(compiled) == 5


def test_damaged_cache_file_is_compiled_again(make_exported, pixels, tmp_path, compiled, caplog):
    first = scores(load_openvino(make_exported("clip"), cache=tmp_path), pixels)
    count = len(compiled)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_allclose(
        scores(load_openvino(make_exported("clip"), cache=tmp_path), pixels), first, atol=1e-6
    )
    assert len(compiled) == 2 * count
    assert "is compiled again" in caplog.text


def test_each_openvino_version_has_its_own_cache_files(make_exported, tmp_path, monkeypatch):
    load_openvino(make_exported("clip"), cache=tmp_path)
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(openvino_graphs.openvino, "__version__", "another")
    load_openvino(make_exported("clip"), cache=tmp_path)
    assert before < set(tmp_path.iterdir())


def test_oldest_cache_files_are_removed_at_the_size_limit(make_exported, tmp_path, monkeypatch):
    load_openvino(make_exported("clip"), cache=tmp_path)
    old = set(tmp_path.iterdir())
    monkeypatch.setattr(openvino_graphs, "MOST_BYTES", sum(path.stat().st_size for path in old))
    load_openvino(make_exported("mkt"), cache=tmp_path)
    kept = set(tmp_path.iterdir())
    assert old - kept
    assert kept - old


def test_unwritable_cache_folder_does_not_fail_the_load(make_exported, pixels, tmp_path, caplog):
    file = tmp_path / "file"
    file.write_bytes(b"")
    engine = load_openvino(make_exported("clip"), cache=file / "folder")
    assert np.isfinite(scores(engine, pixels)).all()
    assert "cannot be written" in caplog.text


def test_bfloat16_embeddings_are_close_to_float32(make_exported, pixels):
    exact = load_openvino(make_exported("mkt")).encode_images(pixels)
    fast = OpenVinoEngine.load(make_exported("mkt"), precision="bfloat16").encode_images(pixels)
    largest = np.abs(exact.image_embeddings).max()
    np.testing.assert_allclose(
        fast.image_embeddings / largest, exact.image_embeddings / largest, rtol=0, atol=0.05
    )


@pytest.mark.parametrize("precision", ["int8", "float8"])
def test_unsupported_precision_is_rejected(make_exported, precision):
    with pytest.raises(ValueError, match=f"not in {precision}"):
        OpenVinoEngine.load(make_exported("clip"), precision=precision)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_thread_count_is_limited_to_available_processors(make_exported, monkeypatch):
    asked = []
    compile_model = openvino_graphs.openvino.Core.compile_model

    def watched(core, model, device, config):
        asked.append(config["INFERENCE_NUM_THREADS"])
        return compile_model(core, model, device, config)

    monkeypatch.setattr(openvino_graphs.openvino.Core, "compile_model", watched)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    for threads in (None, 2, 64):
        OpenVinoEngine.load(make_exported("clip"), threads=threads)
    assert sorted(set(asked)) == [2, 3]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_split_batch_gives_the_same_features_per_image(make_exported, tmp_path, count):
    engine = OpenVinoEngine.load(make_exported("mkt"), precision="float32", cache=tmp_path, threads=2)
    pixels = np.random.default_rng(1).standard_normal((count, 3, 64, 64), dtype=np.float32)
    together = engine.encode_images(pixels)
    for number in range(count):
        alone = engine.encode_images(pixels[number : number + 1])
        np.testing.assert_allclose(
            together.image_embeddings[number], alone.image_embeddings[0], rtol=0, atol=1e-5
        )
        np.testing.assert_allclose(together.patch_tokens[number], alone.patch_tokens[0], rtol=0, atol=1e-5)


def test_batch_reuses_graphs_compiled_for_a_single_image(make_exported, pixels, tmp_path, compiled):
    engine = OpenVinoEngine.load(make_exported("mkt"), precision="float32", cache=tmp_path, threads=2)
    engine.encode_images(pixels[:1])
    before = len(compiled)
    engine.encode_images(pixels)
    assert len(compiled) == before


def test_temporary_files_are_removed(make_exported, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    engine = load_openvino(make_exported("mkt"))
    engine.encode_labels(VOCABULARY)
    assert list(Path(tmp_path).iterdir()) == []


def test_bundle_without_onnx_graphs_is_rejected(make):
    with pytest.raises(BundleError, match=r"'tiny' has no ONNX graphs.*sigrl-train export BUNDLE"):
        OpenVinoEngine.load(make("sigrl"))


@pytest.mark.parametrize("name", ["sigrl", "mkt-prompted-on-clip"])
def test_label_embeddings_match_the_torch_engine(make, make_exported, name):
    ours = load_openvino(make_exported(name)).encode_labels(VOCABULARY).label_embeddings
    expected = TorchEngine.load(make(name), "cpu", precision="float32").encode_labels(VOCABULARY)
    expected = expected.label_embeddings.numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_engines_come_and_go_while_threads_use_them(make_exported, pixels, tmp_path):
    """As in a swap under load: nothing of a dropped engine may be used by the next one."""
    bundle = make_exported("mkt")
    current = [load_openvino(bundle, cache=tmp_path)]
    expected = current[0].encode_images(pixels).image_embeddings
    done = Event()

    def use() -> int:
        count = 0
        while not done.is_set() or not count:
            found = current[0].encode_images(pixels[: 1 + count % 2]).image_embeddings
            np.testing.assert_allclose(found, expected[: len(found)], rtol=0, atol=1e-4)
            count += 1
        return count

    with ThreadPoolExecutor(2) as threads:
        users = [threads.submit(use) for _ in range(2)]
        for _ in range(5):
            current[0] = load_openvino(bundle, cache=tmp_path)
        done.set()
        assert all(user.result() for user in users)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
def test_signal_after_the_last_engine_is_dropped_elsewhere_is_handled(make_exported):
    """The thread that loads an engine is not the one that drops it, as in a swap."""
    code = """
import os, signal, sys, threading
from pathlib import Path
from sigrl.model.openvino_engine import OpenVinoEngine
engines = [OpenVinoEngine.load(Path(sys.argv[1]))]
dropping = threading.Thread(target=engines.clear)
dropping.start()
dropping.join()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    command = [sys.executable, "-c", code, str(make_exported("mkt"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
