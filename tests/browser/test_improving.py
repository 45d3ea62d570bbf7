"""A vocabulary is improved on the page: photographs are suggested, marked and calibrate it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOGRAPHS = [EXAMPLES / name for name in ("cat.jpg", "coffee.jpg", "rocket.jpg")]

LONG = 60_000.0
ASKS_BEFORE_IT_IS_LEFT = """() => {
  const leaving = new Event("beforeunload", { cancelable: true });
  dispatchEvent(leaving);
  return leaving.defaultPrevented;
}"""

OpenPage = Callable[..., Any]
CheckView = Callable[[Any], None]


@pytest.fixture
def client(address: str) -> httpx.Client:
    return httpx.Client(base_url=f"{address}v1/vocabularies/", timeout=60)


def _begin(page: Any, vocabulary: str, files: list[Path]) -> None:
    from playwright.sync_api import expect

    page.click(f"#vocabulary-list button:has-text('{vocabulary}')")
    page.click("#improve-vocabulary")
    expect(page.locator("#improved")).to_have_value(vocabulary)
    page.set_input_files("#some", files)
    page.click("#suggest")
    page.wait_for_selector("#improve-marking:not([hidden])")


def _mark(page: Any) -> None:
    """Answers all words of one photograph by keyboard."""
    name = page.get_attribute("#marked-picture", "alt")
    for word in [text.split("\n")[0] for text in page.locator("#marks li").all_inner_texts()]:
        is_shown = (word, name) in (("cat", "cat.jpg"), ("cup", "coffee.jpg"))
        page.keyboard.press("y" if is_shown else "s" if word == "person" else "n")


def test_photographs_are_suggested_marked_by_keyboard_and_calibrate(
    open_page: OpenPage, client: httpx.Client, check_view: CheckView
) -> None:
    from playwright.sync_api import expect

    client.put("house", json=["cat", "cup", "person"])
    page = open_page("#vocabularies")
    page.click("#vocabulary-list button:has-text('house')")
    page.click("#improve-vocabulary")
    expect(page.locator("#improved")).to_have_value("house")
    check_view(page)
    page.click("#suggest")
    assert page.inner_text("#improve-choose .fault") == "Choose a folder or some photographs first."
    page.set_input_files("#some", PHOTOGRAPHS)
    assert page.inner_text("#improve-files") == "3 photographs chosen"
    page.click("#suggest")
    expect(page.locator("#marking-place")).to_have_text("house: photograph 1 of 3, 0 marked", timeout=LONG)
    expect(page.locator("#calibrate")).to_be_disabled()
    check_view(page)
    for _ in PHOTOGRAPHS:
        _mark(page)
    page.keyboard.press("Enter")  # The last answer has moved the focus to "Use my answers".
    expect(page.locator("#calibration-status")).to_contain_text(
        "house has learned from 3 photographs", timeout=LONG
    )
    rows = page.locator("#calibration-report tbody tr")
    assert "cat" in [row.split("\t")[0] for row in rows.all_inner_texts()]
    check_view(page)
    marked = {each["label"]: each for each in client.get("house/calibration").json()["labels"]}
    counts = [(marked[name]["positives"], marked[name]["negatives"]) for name in ("cat", "cup", "person")]
    assert counts == [(1, 2), (1, 2), (0, 0)]
    page.keyboard.press("Enter")  # "Tag with it"
    expect(page.locator("#vocabulary")).to_have_value("house")


def test_a_gain_is_shown_and_a_calibration_needs_new_marks_or_another_goal(
    open_page: OpenPage, client: httpx.Client, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    client.put("colours", json=["red", "blue"])
    files = []
    for place in range(12):
        files.append(tmp_path / f"{'red' if place % 2 else 'blue'}-{place}.jpg")
        colour = (200 + place, 20, 20) if place % 2 else (20, 20, 200 + place)
        Image.new("RGB", (64, 64), colour).save(files[-1])
    page = open_page("#vocabularies")
    _begin(page, "colours", files)
    for _ in files:
        name = page.get_attribute("#marked-picture", "alt")
        for word in [text.split("\n")[0] for text in page.locator("#marks li").all_inner_texts()]:
            page.keyboard.press("y" if name.startswith(word) else "n")
    page.click("#calibrate")
    expect(page.locator("#calibration-report .gain")).to_contain_text("Right for your words", timeout=LONG)
    expect(page.locator("#calibrate")).to_be_disabled()
    page.select_option("#goal", "precision")
    page.click("#calibrate")
    expect(page.locator("#calibration-status")).to_contain_text("has learned from", timeout=LONG)
    expect(page.locator("#calibrate")).to_be_disabled()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("y")
    expect(page.locator("#calibrate")).to_be_enabled()


def test_marks_are_not_discarded_unasked(open_page: OpenPage, client: httpx.Client) -> None:
    from playwright.sync_api import expect

    client.put("garden", json=["cat", "cup"])
    page = open_page("#vocabularies")
    _begin(page, "garden", PHOTOGRAPHS)
    assert not page.evaluate(ASKS_BEFORE_IT_IS_LEFT)
    page.keyboard.press("y")
    page.click("#restart")
    assert "The marks of 1 photograph" in page.inner_text("#confirm-text")
    page.click("#confirm button[value=no]")
    expect(page.locator("#marks [aria-pressed='true']")).to_have_count(1)
    assert page.evaluate(ASKS_BEFORE_IT_IS_LEFT)
    page.click("#restart")
    page.click("#confirm-yes")
    expect(page.locator("#improve-choose")).to_be_visible()


def test_files_that_cannot_be_used_are_left_out_and_told(
    open_page: OpenPage, client: httpx.Client, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    client.put("shed", json=["cat", "cup"])
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((EXAMPLES / "cat.jpg").read_bytes()[:2000])
    page = open_page("#vocabularies")
    _begin(page, "shed", [*PHOTOGRAPHS, broken])
    told = "One file was left out: This photograph is damaged"
    expect(page.locator("#improve-status")).to_contain_text(told)
    page.click("#restart")
    page.set_input_files("#some", broken)
    page.click("#suggest")
    expect(page.locator("#improve-status.bad")).to_contain_text("This photograph is damaged")
    problem = '{"type": "urn:sigrl:problem:missing-scope"}'
    page.route("**/candidates", lambda route: route.fulfill(status=403, body=problem))
    page.set_input_files("#some", PHOTOGRAPHS)
    page.click("#suggest")
    expect(page.locator("#improve-status.bad")).to_contain_text("Your API key does not allow this.")
