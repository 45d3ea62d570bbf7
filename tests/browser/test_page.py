"""The page in Debian's Chromium, with the bundled checkpoint."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from service.app import create_app
from service.settings import Settings

CHROMIUM = shutil.which("chromium")
EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = 60_000.0

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed here")

OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(data=tmp_path_factory.mktemp("data"), database_url=None, keys="auto", port=0)
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    started = threading.Event()
    while not server.started:
        started.wait(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[OpenPage]:
    """Opens the page; at the end nothing may have been said on the console, by the policy or a script."""
    said: list[str] = []
    pages = []

    def opened(**options: Any) -> Any:
        page = browser.new_page(**options)
        page.set_default_timeout(LONG)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#vocabulary option:nth-child(2)", state="attached")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert [line for line in said if "422" not in line] == []


def _tagged(page: Any, *names: str) -> list[str]:
    page.set_input_files("#files", [EXAMPLES / name for name in names])
    page.wait_for_selector("#tags button.yes")
    return [text.strip() for text in page.locator("#tags button.yes span:first-child").all_inner_texts()]


def test_a_photograph_is_tagged_and_a_tag_is_shown_where_it_is_seen(open_page: OpenPage) -> None:
    page = open_page()
    assert _tagged(page, "cat.jpg")[0] == "cat"
    page.hover("#tags button")
    page.wait_for_selector("#picture[data-label='cat']")
    assert "where “cat” is seen" in page.get_attribute("#picture", "aria-label")


def test_own_words_a_vocabulary_and_a_threshold(open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    page = open_page()
    _tagged(page, "coffee.jpg")
    page.fill("#labels", "cup, spaceship")
    page.press("#labels", "Enter")
    expect(page.locator("#tags li")).to_have_count(2, timeout=LONG)
    page.locator("#threshold").evaluate("e => { e.value = 99; e.dispatchEvent(new Event('input')) }")
    assert page.locator("#tags button.yes").count() == 0
    page.select_option("#vocabulary", "voc20")
    page.click("button[type=submit]")
    expect(page.locator("#tags li")).to_have_count(20, timeout=LONG)
    assert "vocabulary=voc20" in page.text_content("#curl")


def test_the_keyboard_alone_will_do(open_page: OpenPage) -> None:
    page = open_page()
    _tagged(page, "cat.jpg")
    page.focus("#threshold")
    page.keyboard.press("Tab")
    page.wait_for_selector("#picture[data-label='cat']")


def test_what_is_no_photograph_is_told_with_a_hint(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    page.set_input_files("#files", tmp_path / "broken.jpg")
    page.wait_for_selector("#status.bad")
    assert "damaged" in page.text_content("#status")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_and_everybody_can_use_it(open_page: OpenPage, colours: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(viewport={"width": width, "height": 700}, color_scheme=colours)
    for _ in range(2):
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        _tagged(page, "coffee.jpg")
