"""OpenAI's own client, pointed at the service."""

from base64 import b64decode, b64encode
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import sample_images as samples

DATA_URL = "data:image/jpeg;base64," + b64encode(samples.jpeg()).decode()


@pytest.fixture
def client(server: httpx.Client, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/compat/openai", api_key=key, max_retries=0)


def _ours(server: httpx.Client) -> tuple[list[float], list[float]]:
    """Of the photograph and of the label `red`, by POST /v1/embeddings."""
    image = server.post("/v1/embeddings", files=[("image", samples.jpeg())]).json()["images"][0]
    label = server.post("/v1/embeddings", json={"labels": ["red"]}).json()["labels"][0]
    return image["embedding"], label["embedding"]


@pytest.mark.parametrize("form", ["float", "base64"])
def test_images_and_texts_are_embedded_in_one_request(
    client: openai.OpenAI, server: httpx.Client, form: Any
) -> None:
    mixed: Any = ["red", {"image": DATA_URL}, {"text": "Red"}, {"image": DATA_URL.partition(",")[2]}]
    answer = client.embeddings.create(model="any", input=mixed, encoding_format=form)
    assert [each.index for each in answer.data] == [0, 1, 2, 3]
    assert answer.model == "sha256:fake"
    image, label = _ours(server)
    for each, expected in zip(answer.data, [label, image, label, image], strict=True):
        vector: Any = each.embedding
        values = vector if form == "float" else np.frombuffer(b64decode(vector), "<f4")
        np.testing.assert_allclose(values, expected, atol=1e-6)


def test_openai_client_accepts_default_encoding_and_single_text(
    client: openai.OpenAI, server: httpx.Client
) -> None:
    """The client asks for base64 and decodes it, unless the caller names a format."""
    (only,) = client.embeddings.create(model="any", input="red").data
    np.testing.assert_allclose(only.embedding, _ours(server)[1], atol=1e-6)
    long = "red " * 100
    assert len(client.embeddings.create(model="any", input=[long, long + "dog"]).data) == 2


def test_openai_client_raises_service_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="dimensions"):
        client.embeddings.create(model="any", input="red", dimensions=8)
    with pytest.raises(openai.UnprocessableEntityError, match="input"):
        client.embeddings.create(model="any", input=[[1, 2, 3]])
    broken: Any = [{"image": b64encode(b"not a photograph").decode()}]
    with pytest.raises(openai.APIStatusError, match="format is not known") as caught:
        client.embeddings.create(model="any", input=broken)
    assert caught.value.status_code == 415
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sigrl_wrong").embeddings.create(model="any", input="red")
