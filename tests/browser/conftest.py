"""Debian's Chromium, and a server with the bundled checkpoint that one module's tests share."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from two_checkpoints import save_other_bundle, serving

from sigrl.model.manifest import Description
from sigrl.service.app import create_app
from sigrl.service.settings import Settings

CHROMIUM = shutil.which("chromium")
LONG = 60_000.0
EXPECTED = (
    # Browsers log this for every error response, and tests cause some on purpose.
    *(f"status of {status}" for status in (401, 403, 409, 412, 415, 422, 504)),
    # Swagger UI logs this for a format without a field of its own, and shows it as plain text.
    "Could not find component: JsonSchema_",
)

OpenPage = Callable[..., Any]


# Not session-scoped: while it exists, no other test can run an event loop in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed here")
    from playwright.sync_api import sync_playwright

    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def data(
    browser: Any,  # noqa: ARG001  # without a browser, no server is needed
    tmp_path_factory: pytest.TempPathFactory,
    tiny_description: Description,
    tokenizer_definition: bytes,
) -> Path:
    """A server's data folder with the bundle `candidate`."""
    folder = tmp_path_factory.mktemp("data")
    save_other_bundle(folder / "checkpoints" / "candidate", tiny_description, tokenizer_definition)
    return folder


@pytest.fixture(scope="module")
def keys() -> str:
    """Whether the server requires keys; see `Settings`."""
    return "auto"


@pytest.fixture(scope="module")
def address(data: Path, keys: str) -> Iterator[str]:
    with serving(create_app(Settings(data=data, database_url=None, keys=keys, port=0))) as client:
        yield f"{client.base_url}/"


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[OpenPage]:
    """Opens the page; fails at the end if scripts or the content policy logged anything to the console."""
    said: list[str] = []
    pages = []

    def opened(path: str = "", **options: Any) -> Any:
        page = browser.new_page(**options)
        page.set_default_timeout(LONG)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address + path)
        page.wait_for_selector("#views [aria-current]")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert [line for line in said if not any(each in line for each in EXPECTED)] == []


@pytest.fixture
def check_view() -> Callable[[Any], None]:
    """Checks what the page shows now: accessible in light and dark mode, and it fits a phone."""
    from axe_playwright_python.sync_playwright import Axe

    def check(page: Any) -> None:
        before = page.viewport_size
        for colours, width in (("dark", 360), ("light", before["width"])):
            page.emulate_media(color_scheme=colours)
            page.set_viewport_size({"width": width, "height": before["height"]})
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    return check
