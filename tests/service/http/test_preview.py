"""POST /v1/preview: photographs as the service decodes them."""

from io import BytesIO

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient
from PIL import Image

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger


@pytest.fixture
def client(engine: FakeEngine):
    with TestClient(create_app(Settings(), Tagger(engine=engine))) as client:
        yield client


def test_heic_preview_is_an_upright_jpeg_without_metadata(client: TestClient) -> None:
    response = client.post("/v1/preview", files={"image": samples.HEIC_ROTATED})
    assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
    with Image.open(BytesIO(response.content)) as image:
        assert (image.format, image.getexif()) == ("JPEG", {})


def test_preview_of_a_large_image_is_reduced(client: TestClient) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    response = client.post("/v1/preview", content=samples.jpeg(3000, 2000), headers=headers)
    with Image.open(BytesIO(response.content)) as image:
        assert image.size == (1024, 683)


def test_preview_requires_exactly_one_image(client: TestClient) -> None:
    two = [("image", samples.jpeg()), ("image", samples.jpeg())]
    assert client.post("/v1/preview", files=two).status_code == 422
    assert client.post("/v1/preview", files={"image": b"%PDF-1.4"}).status_code == 415
    data = {"labels": "red"}
    assert client.post("/v1/preview", files={"image": samples.jpeg()}, data=data).status_code == 422
