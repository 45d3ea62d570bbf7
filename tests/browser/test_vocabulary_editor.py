"""Vocabularies on the page: edit and save."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

OpenPage = Callable[..., Any]
CheckView = Callable[[Any], None]


@pytest.fixture
def client(address: str) -> httpx.Client:
    return httpx.Client(base_url=f"{address}v1/vocabularies/", timeout=60)


def _said(page: Any, text: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#editor-status")).to_contain_text(text)


def test_vocabulary_can_be_created_changed_and_deleted(
    open_page: OpenPage, client: httpx.Client, check_view: CheckView
) -> None:
    page = open_page("#vocabularies")
    page.fill("#name", "kitchen")
    page.fill("#lines", "cup\ncoffee")
    page.click("#finer summary")
    cup = page.locator("#finer-rows fieldset").first
    cup.get_by_label("Synonyms").fill("mug, tea cup")
    cup.get_by_label("Threshold").fill("35")
    page.click("#editor button[type=submit]")
    _said(page, "version 1, 2 words")
    check_view(page)
    page.fill("#lines", "cup\ncoffee\nspoon")
    page.click("#editor button[type=submit]")
    _said(page, "version 2, 3 words")
    saved = client.get("kitchen").json()["labels"]
    cup_saved = {"name": "cup", "synonyms": ["mug", "tea cup"], "threshold": 0.35}
    assert saved == [cup_saved, {"name": "coffee"}, {"name": "spoon"}]
    page.click("#delete-vocabulary")
    page.click("#confirm-yes")
    _said(page, "kitchen is deleted")
    assert client.get("kitchen").status_code == 404


def test_edit_conflict_is_shown_and_keeps_both_versions(
    open_page: OpenPage, client: httpx.Client, check_view: CheckView
) -> None:
    from playwright.sync_api import expect

    client.put("garden", json=["tree", {"name": "rose", "description": "a flower"}])
    page = open_page("#vocabularies")
    page.click("#vocabulary-list button:has-text('garden')")
    expect(page.locator("#lines")).to_have_value("tree\nrose")
    client.put("garden", json=["tree", "pond"])
    page.fill("#lines", "rose\nbench")
    page.click("#editor button[type=submit]")
    page.wait_for_selector("#conflict:not([hidden])")
    check_view(page)
    assert "only in the saved version: tree, pond; only in yours: rose, bench" in page.text_content(
        "#conflict-text"
    )
    assert page.input_value("#lines") == "rose\nbench"
    page.click("#save-mine")
    _said(page, "version 3")
    assert client.get("garden").json()["labels"] == [
        {"name": "rose", "description": "a flower"},
        {"name": "bench"},
    ]


def test_built_in_vocabulary_can_only_be_saved_as_a_copy(open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    page = open_page("#vocabularies")
    page.click("#vocabulary-list button:has-text('voc20')")
    expect(page.locator("#name")).to_have_value("my-voc20")
    page.fill("#name", "voc20")
    page.click("#editor button[type=submit]")
    page.wait_for_selector("#editor-status.bad")
    page.fill("#name", "mine")
    page.click("#editor button[type=submit]")
    _said(page, "Saved mine: version 1, 20 words")


def test_all_form_errors_are_shown_at_once(open_page: OpenPage, check_view: CheckView) -> None:
    page = open_page("#vocabularies")
    page.fill("#name", "My Garden!")
    page.click("#editor button[type=submit]")
    assert page.locator("#editor .fault").all_inner_texts() == [
        "Use only a to z, 0 to 9 and hyphens, at most 64 characters, for example: my-garden.",
        "Write at least one word.",
    ]
    assert page.evaluate("document.activeElement.id") == "name"
    check_view(page)
