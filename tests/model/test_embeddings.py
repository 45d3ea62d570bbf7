import numpy as np
import pytest
from engine_bundles import VOCABULARY, load_openvino

from sigrl.model.bundle import load_bundle
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.torch_engine import TorchEngine


@pytest.mark.parametrize("name", ["clip", "mkt-published"])
def test_embedding_dot_products_equal_global_matching_cosines(make, make_exported, name):
    pixels = np.random.default_rng(0).standard_normal((2, 3, 64, 64), dtype=np.float32)
    form = load_bundle(make(name)).manifest.head.form
    exported = make_exported(name)
    engines = (
        TorchEngine.load(make(name), "cpu", precision="float32"),
        OnnxEngine.load(exported),
        load_openvino(exported),
    )
    products = []
    for engine in engines:
        image_features, label_features = engine.encode_images(pixels), engine.encode_labels(VOCABULARY)
        images, labels = engine.image_embeddings(image_features), engine.label_embeddings(label_features)
        for embeddings in (images, labels):
            assert embeddings.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
        products.append(images @ labels.T)
        if form == "context":
            # As it begins: 10 times the cosine, less 5.
            logits = engine.score(image_features, label_features)
            np.testing.assert_allclose(products[-1], (logits + 5) / 10, atol=1e-5)
    np.testing.assert_allclose(products[1], products[0], atol=1e-5)
    np.testing.assert_allclose(products[2], products[0], atol=1e-5)
