"""What docs/client.md and docs/bulk.md show, works as it stands."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from two_checkpoints import serving

from service.app import create_app
from service.settings import Settings
from service.tagger import Tagger

ROOT = Path(__file__).parents[2]
LOCAL = "http://127.0.0.1:8000"


def _blocks(language: str, *pages: str) -> list[str]:
    texts = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in pages]
    return [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


@pytest.fixture
def server(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("service.tagger.load_engine", lambda *_: FakeEngine())
    with serving(create_app(Settings(), Tagger(engine=engine))) as client:
        yield str(client.base_url).rstrip("/")


@pytest.mark.parametrize("number", range(len(_blocks("python", "client.md"))))
def test_python(server: str, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    code = _blocks("python", "client.md")[number]
    assert LOCAL in code
    exec(compile(code.replace(LOCAL, server), "client.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", ["client.md", "bulk.md"])
def test_commands(sigrl, server: str, page: str) -> None:
    commands = "".join(_blocks("sh", page)).replace(LOCAL, server).splitlines()
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "sigrl"
        status, out, err = sigrl(*arguments)
        assert (status, err) == (0, ""), command
        assert out
    if page == "bulk.md":
        assert Path("tags.parquet").stat().st_size > 0
        assert Path("examples/cat.jpg.xmp").stat().st_size > 0
