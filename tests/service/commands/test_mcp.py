"""`sigrl mcp`, asked by the SDK's own client over standard input and output."""

import asyncio
import os
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sample_images as samples
from PIL import Image

mcp = pytest.importorskip("mcp")

SERVER = "from sigrl.service.cli import main; main()"


def _ask(checkpoint: Path, *calls: tuple[str, dict[str, Any]]) -> tuple[set[str], list[Any]]:
    """(names of the tools, result of each call)."""
    parameters = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-c", SERVER, "mcp", "--checkpoint", str(checkpoint)],
        env=dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )

    async def ask() -> tuple[set[str], list[Any]]:
        async with mcp.Client(parameters) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            return tools, [await client.call_tool(*call) for call in calls]

    return asyncio.run(ask())


def test_mcp_client_can_tag_explain_and_list_vocabularies(tiny_bundle: Path, tmp_path: Path) -> None:
    photograph = tmp_path / "photo.jpg"
    photograph.write_bytes(samples.jpeg())
    path = str(photograph)
    tools, results = _ask(
        tiny_bundle,
        ("tag", {"photograph": path, "labels": ["dog", "cat"], "top_k": 2}),
        ("tag", {"photograph": path, "vocabulary": "voc20", "top_k": 3}),
        ("explain", {"photograph": path, "label": "dog"}),
        ("vocabularies", {}),
        ("tag", {"photograph": str(tmp_path / "none.jpg")}),
        ("tag", {"photograph": path, "labels": ["dog"], "vocabulary": "voc20"}),
    )
    assert tools == {"tag", "explain", "vocabularies"}
    listed, named, explained, vocabularies, missing, both = results
    assert {tag["label"] for tag in listed.structured_content["tags"]} == {"dog", "cat"}
    assert named.structured_content["vocabulary"]["name"] == "voc20"
    assert len(named.structured_content["tags"]) == 3
    said, shown = explained.content
    assert "probability 0." in said.text
    assert Image.open(BytesIO(b64decode(shown.data))).size == (48, 32)
    assert vocabularies.structured_content["voc20"] == 20
    for refused, told in ((missing, "cannot be read"), (both, "give one of them")):
        assert refused.is_error
        assert told in refused.content[0].text
