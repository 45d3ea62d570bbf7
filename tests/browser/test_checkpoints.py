"""Checkpoints on the page: load, shadow, activate and roll back; also with a key, as from another machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sigrl.service.database.database import Database
from sigrl.service.keys.key import KeyScope
from sigrl.service.keys.store import KeyStore
from sigrl.service.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples"

OpenPage = Callable[..., Any]
CheckView = Callable[[Any], None]


@pytest.fixture(scope="module")
def keys() -> str:
    return "required"


@pytest.fixture
def key_of(address: str, data: Path) -> Callable[[KeyScope], str]:  # noqa: ARG001  # it makes the database
    store = KeyStore(Database.open(Settings(data=data, database_url=None)))
    return lambda scope: store.create(scope, scope)[1]


def _give(page: Any, key: str) -> None:
    page.wait_for_selector("#needs-key:not([hidden])")
    page.fill("#key", key)
    page.press("#key", "Enter")


def test_checkpoint_can_be_loaded_shadowed_activated_and_rolled_back(
    open_page: OpenPage, key_of: Callable[[KeyScope], str], check_view: CheckView
) -> None:
    from playwright.sync_api import expect

    page = open_page("#checkpoints")
    check_view(page)
    _give(page, key_of(KeyScope.ADMIN))
    page.click("[data-action='load candidate']")
    card = page.locator(".card", has_text="candidate")
    expect(card.locator(".state")).to_have_text("ready", timeout=60_000)
    page.select_option("#share", "1")
    card.get_by_role("button", name="Shadow").click()
    expect(card.locator(".state")).to_have_text("shadow")
    page.click("#views [href='#tag']")
    page.set_input_files("#files", EXAMPLES / "cat.jpg")
    page.wait_for_selector(".card[data-state='tagged']")
    page.click("#views [href='#checkpoints']")
    expect(card.locator("dd").first).to_have_text("1", timeout=60_000)
    card.locator("summary").click()
    check_view(page)
    card.get_by_role("button", name="Activate").click()
    check_view(page)
    page.click("#confirm button[value=no]")
    expect(card.locator(".state")).to_have_text("shadow")
    card.get_by_role("button", name="Activate").click()
    page.click("#confirm-yes")
    expect(page.locator("#answering")).to_contain_text("candidate is active")
    expect(page.locator("#answering")).to_contain_text("generation 2")
    assert page.locator("#replica-list tr").count() == 1
    page.click("#roll-back")
    page.click("#confirm-yes")
    expect(page.locator("#answering")).to_contain_text("The bundled checkpoint is active")


def test_without_a_valid_key_only_the_key_is_asked_for_and_with_it_all_goes_on(
    open_page: OpenPage, key_of: Callable[[KeyScope], str], check_view: CheckView
) -> None:
    from playwright.sync_api import expect

    page = open_page()
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#content")).to_be_hidden()
    assert page.inner_text("#key-problem") == ""
    check_view(page)
    _give(page, "sigrl_wrong")
    expect(page.locator("#key-problem")).to_contain_text("This API key is not valid")
    expect(page.locator("#key")).to_have_value("")
    key = key_of(KeyScope.TAG)
    _give(page, key)
    expect(page.locator("#vocabulary option:checked")).to_have_text("Everyday things, if certain")
    expect(page.locator("#needs-key")).to_be_hidden()
    page.evaluate("sessionStorage.setItem('key', 'sigrl_revoked')")
    page.set_input_files("#files", EXAMPLES / "cat.jpg")
    _give(page, key)
    page.wait_for_selector("#grid .card[data-state='tagged']")


def test_key_without_permission_is_rejected_and_asks_for_another(
    open_page: OpenPage, key_of: Callable[[KeyScope], str]
) -> None:
    from playwright.sync_api import expect

    page = open_page("#checkpoints")
    _give(page, key_of(KeyScope.TAG))
    expect(page.locator("#answering")).to_contain_text("is active")
    page.locator("#checkpoint-list button, #bundle-list button").first.click()
    if page.is_visible("#confirm"):
        page.click("#confirm-yes")
    expect(page.locator("#checkpoints-status")).to_contain_text("Your API key does not allow this")
    assert page.is_visible("#key")
    page.click("#views [href='#tag']")
    page.set_input_files("#files", EXAMPLES / "cat.jpg")
    page.click("#grid .card[data-state='tagged'] .shot")
    page.wait_for_selector("#lists .tags")
    assert "$SIGRL_API_KEY" in page.text_content("#curl")
