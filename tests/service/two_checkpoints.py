"""Two real checkpoints that differ in all that a swap could mix up, and a server in the folder of both."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
import uvicorn
from fastapi import FastAPI

from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.manifest import Description
from sigrl.model.vocabulary import Label

LONG = 60.0


def save_other_bundle(directory: Path, description: Description, tokenizer: bytes) -> None:
    """As `tiny_bundle`, with another embedding size, another size of photographs and other weights."""
    backbone = description.backbone.model_copy(
        update={"embed_dim": 48, "vision": {**description.backbone.vision, "image_size": 96}}
    )
    preprocessing = description.preprocessing.model_copy(update={"image_size": 96})
    other = description.model_copy(update={"backbone": backbone, "preprocessing": preprocessing})
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        model = TaggingModel(other.backbone, other.head, tokenizer).eval()
        torch.nn.init.normal_(model.backbone.text.position_embedding)
        names = [Label(name=name) for name in other.head.context_labels]
        model.head.set_context(model.backbone.encode_labels(names))
    save_bundle(directory, other, model.state_dict(), tokenizer)


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """The application on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=30))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=address, timeout=LONG) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(LONG)


def load(client: Any, bundle: str) -> str:
    """Loads a bundle; its checkpoint's id when it is ready."""
    answer = client.post("/v1/checkpoints/load", json={"bundle": bundle})
    assert answer.status_code == 202, answer.text
    place = answer.headers["location"]
    wait_until(lambda: client.get(place).json()["state"] not in ("candidate", "loading", "warming"))
    info = client.get(place).json()
    assert info["state"] in ("ready", "active"), info
    return str(info["id"])


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)
