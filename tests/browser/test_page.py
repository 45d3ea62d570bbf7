"""Tagging on the page, with the bundled checkpoint."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from two_checkpoints import load

EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = 60_000.0

HAND_OVER = """([event, photograph]) => {
  const data = new DataTransfer();
  const bytes = Uint8Array.from(atob(photograph), (each) => each.charCodeAt(0));
  data.items.add(new File([bytes], "cat.jpg", { type: "image/jpeg" }));
  const given = event === "drop"
    ? new DragEvent(event, { dataTransfer: data, bubbles: true, cancelable: true })
    : new ClipboardEvent(event, { clipboardData: data, bubbles: true });
  document.getElementById("drop").dispatchEvent(given);
}"""
"""Simulates dropping or pasting a file."""

OpenPage = Callable[..., Any]
CheckView = Callable[[Any], None]


def _tagged(page: Any, *names: str) -> list[str]:
    page.set_input_files("#files", [EXAMPLES / name for name in names])
    page.wait_for_selector(".tags button.yes")
    return [text.strip() for text in page.locator(".tags button.yes span:first-child").all_inner_texts()]


def test_a_photograph_is_tagged_and_a_tag_is_shown_where_it_is_seen(open_page: OpenPage) -> None:
    page = open_page()
    assert _tagged(page, "cat.jpg")[0] == "cat"
    page.hover(".tags button")
    page.wait_for_selector("#picture[data-label='cat']")
    assert "where “cat” is seen" in page.get_attribute("#picture", "aria-label")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_photograph_is_dropped_or_pasted(open_page: OpenPage, event: str) -> None:
    page = open_page()
    photograph = base64.b64encode((EXAMPLES / "cat.jpg").read_bytes()).decode()
    page.evaluate(HAND_OVER, [event, photograph])
    page.wait_for_selector(".tags button.yes")
    assert "cat" in page.locator(".tags button.yes").first.inner_text()


def test_own_words_a_vocabulary_and_a_threshold(open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    page = open_page()
    _tagged(page, "coffee.jpg")
    page.fill("#labels", "cup, spaceship")
    page.press("#labels", "Enter")
    expect(page.locator(".tags li")).to_have_count(2, timeout=LONG)
    assert """answer = client.tag("coffee.jpg", ["cup", "spaceship"])""" in page.text_content("#python")
    page.locator("#threshold").evaluate("e => { e.value = 99; e.dispatchEvent(new Event('input')) }")
    assert page.locator(".tags button.yes").count() == 0
    page.select_option("#vocabulary", "voc20")
    page.click("#asked button[type=submit]")
    expect(page.locator(".tags li")).to_have_count(20, timeout=LONG)
    assert "vocabulary=voc20" in page.text_content("#curl")
    assert """client.tag("coffee.jpg", vocabulary="voc20")""" in page.text_content("#python")


def test_who_names_nothing_sees_what_is_sure_and_else_guesses(open_page: OpenPage, address: str) -> None:
    import httpx
    from playwright.sync_api import expect

    page = open_page()
    page.wait_for_selector("#vocabulary option[value='*']", state="attached")
    page.select_option("#vocabulary", "*")
    page.set_input_files("#files", EXAMPLES / "cat.jpg")
    page.wait_for_selector("#lists .tags li")
    with httpx.Client(base_url=address, timeout=60) as client:
        files = {"image": (EXAMPLES / "cat.jpg").read_bytes()}
        (image,) = client.post("/v1/tag", files=files).json()["images"]
    expect(page.locator("#lists .tags button.yes")).to_have_count(len(image["tags"]))
    expect(page.locator("#lists .guess")).to_have_count(len(image["guesses"]))
    assert page.is_hidden("#threshold")
    assert 'client.tag("cat.jpg")' in page.text_content("#python")


def test_guesses_and_warnings_are_marked(open_page: OpenPage, check_view: CheckView) -> None:
    page = open_page()
    page.fill("#labels", "no dog, submarine, giraffe, violin")
    page.set_input_files("#files", EXAMPLES / "coffee.jpg")
    page.wait_for_selector("#lists .guess")
    assert "Nothing recognised with confidence" in page.inner_text("#lists .nothing")
    assert page.locator("#lists .guess").count() == 3
    assert all("a guess" in text for text in page.locator("#lists .guess").all_inner_texts())
    assert "no dog: it names what is absent" in page.inner_text("#lists .warning")
    page.click("#lists .others summary")
    check_view(page)


def test_what_is_copied_from_the_page_runs(open_page: OpenPage, monkeypatch: Any, capsys: Any) -> None:
    page = open_page()
    _tagged(page, "cat.jpg")
    monkeypatch.chdir(EXAMPLES)
    exec(page.text_content("#python"), {})
    assert "cat 0." in capsys.readouterr().out


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


def test_the_camera_takes_a_photograph(open_page: OpenPage, check_view: CheckView) -> None:
    page = open_page()
    page.click("#camera")
    page.wait_for_selector("#viewfinder[open]")
    check_view(page)
    page.click("#shoot")
    page.wait_for_selector(".tags li")
    assert page.get_attribute("#strip img", "alt") == "camera-1.jpg"
    assert page.evaluate("document.querySelector('#video').srcObject === null")


def test_a_phone_has_its_own_camera(open_page: OpenPage) -> None:
    page = open_page(has_touch=True, is_mobile=True)
    assert page.is_visible("label[for=taken]")
    assert page.is_hidden("#camera")


def test_two_vocabularies_and_two_checkpoints_side_by_side(
    open_page: OpenPage, address: str, check_view: CheckView
) -> None:
    import httpx
    from playwright.sync_api import expect

    with httpx.Client(base_url=address) as client:
        other = load(client, "candidate")
    page = open_page()
    _tagged(page, "coffee.jpg")
    page.select_option("#vocabulary", "coco80")
    page.select_option("#beside", "vocabulary voc20")
    page.click("#asked button[type=submit]")
    expect(page.locator("#lists h3")).to_have_text(["coco80", "voc20"], timeout=LONG)
    check_view(page)
    page.select_option("#beside", f"checkpoint {other}")
    page.click("#asked button[type=submit]")
    expect(page.locator("#lists h3").nth(1)).to_contain_text(other[7:19], timeout=LONG)
    with page.expect_response("**/v1/explain") as explained:
        page.locator("#lists section").nth(1).locator("button").first.hover()
    assert explained.value.json()["checkpoint"] == other


def test_it_fits_and_everybody_can_use_it(open_page: OpenPage, check_view: CheckView) -> None:
    page = open_page(viewport={"width": 1200, "height": 700})
    check_view(page)
    _tagged(page, "coffee.jpg")
    for closed in page.locator("#result details:not([hidden]) summary").all():
        closed.click()
    check_view(page)


def test_the_api_is_described_without_anything_from_elsewhere(open_page: OpenPage, address: str) -> None:
    page = open_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}docs")
    page.wait_for_selector("#operations-tagging-tag_v1_tag_post")
    page.click("#operations-tagging-tag_v1_tag_post button")
    page.wait_for_selector("#operations-tagging-tag_v1_tag_post .opblock-body")
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
