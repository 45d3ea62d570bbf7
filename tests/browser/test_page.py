"""Tagging on the page, with the bundled checkpoint."""

import base64
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sample_images as samples
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
  document.getElementById("empty").dispatchEvent(given);
}"""
"""Simulates dropping or pasting a file."""

TOO_SMALL = """() => {
  const fields = "a[href], button:not(.cross), select, input, textarea, summary, label.button";
  const isMeant = (each) => each.checkVisibility() && !each.matches(".hidden, p *");
  const sides = (each) => [each.getBoundingClientRect().width, each.getBoundingClientRect().height];
  const small = (each) => Math.min(...sides(each)) < 44;
  return [...document.querySelectorAll(fields)].filter(isMeant).filter(small).map((each) => each.outerHTML);
}"""
"""What is smaller than 44 pixels. Crosses have a larger area around them; links in sentences are exempt."""

OpenPage = Callable[..., Any]
CheckView = Callable[[Any], None]


def _tagged(page: Any, *names: str) -> None:
    page.set_input_files("#files", [EXAMPLES / name for name in names])
    _settled(page, len(names))


def _settled(page: Any, count: int) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#grid .card[data-state='tagged']")).to_have_count(count, timeout=LONG)


def _chips(page: Any, place: int = 0) -> list[str]:
    return page.locator("#grid .card").nth(place).locator(".chip").all_inner_texts()


def _own_words(page: Any, words: str) -> None:
    page.select_option("#vocabulary", "")
    while page.locator("#words .chip button").count():
        page.locator("#words .chip button").first.click()
    page.fill("#labels", words)
    page.click("#asked button[type=submit]")


def _open(page: Any, place: int = 0) -> None:
    page.locator("#grid .shot").nth(place).click()
    page.wait_for_selector("#lists .tags")


def test_sample_is_tagged_and_hovering_a_tag_shows_its_location(open_page: OpenPage) -> None:
    page = open_page()
    page.click("[aria-label='Try the photograph of a cat']")
    _settled(page, 1)
    assert _chips(page) == ["cat"]
    assert page.inner_text("#summary") == "1 photograph · 1 tag"
    _open(page)
    page.hover("#lists .tags button")
    page.wait_for_selector("#picture[data-label='cat']")
    assert "where “cat” is found" in page.get_attribute("#picture", "aria-label")
    assert page.inner_text("#legend-label") == "What speaks for “cat”"
    page.keyboard.press("Escape")
    page.wait_for_selector("#gallery:not([hidden])")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_dropped_or_pasted_image_is_tagged(open_page: OpenPage, event: str) -> None:
    page = open_page()
    photograph = base64.b64encode((EXAMPLES / "cat.jpg").read_bytes()).decode()
    page.evaluate(HAND_OVER, [event, photograph])
    _settled(page, 1)
    assert _chips(page) == ["cat"]


def test_each_image_keeps_its_own_result_or_error(open_page: OpenPage, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page = open_page()
    (tmp_path / "notes.pdf").write_bytes(b"%PDF-1.4")
    page.set_input_files("#files", [EXAMPLES / "cat.jpg", tmp_path / "notes.pdf", EXAMPLES / "coffee.jpg"])
    failed = page.locator("#grid .card[data-state='failed']")
    expect(failed).to_have_count(1, timeout=LONG)
    _settled(page, 2)
    assert "This is not a photograph that can be read." in failed.inner_text()
    assert "curl" not in failed.inner_text()
    assert page.inner_text("#summary").endswith("· 1 failed")
    assert failed.get_by_role("button", name="Try again").count() == 0
    failed.locator(".shot").click()
    expect(page.locator("#no-picture")).to_be_visible()
    expect(page.locator("#legend")).not_to_be_visible()
    page.click("#close")
    failed.get_by_role("button", name="Remove notes.pdf").click()
    expect(page.locator("#grid .card")).to_have_count(2)
    assert page.inner_text("#summary").startswith("2 photographs ·")


def test_click_opens_a_photograph_whose_answer_changes_meanwhile(open_page: OpenPage) -> None:
    page = open_page()
    _tagged(page, "cat.jpg")
    page.locator("#grid .shot").hover()
    page.mouse.down()
    page.select_option("#vocabulary", "everyday")
    _settled(page, 1)
    page.mouse.up()
    page.wait_for_selector("#lists .tags")


def test_temporary_error_can_be_retried(open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    page = open_page()
    page.route("**/v1/tag", lambda route: route.fulfill(status=504, body="{}"), times=1)
    page.set_input_files("#files", EXAMPLES / "cat.jpg")
    failed = page.locator("#grid .card[data-state='failed']")
    expect(failed).to_have_count(1, timeout=LONG)
    failed.get_by_role("button", name="Try again").click()
    _settled(page, 1)


def test_own_labels_vocabulary_and_threshold_can_be_set(open_page: OpenPage) -> None:
    from playwright.sync_api import expect

    page = open_page()
    _tagged(page, "coffee.jpg")
    _own_words(page, "cup, spaceship")
    _settled(page, 1)
    assert [text.split("\n")[0] for text in page.locator("#words .chip").all_inner_texts()] == [
        "cup",
        "spaceship",
    ]
    assert page.inner_text("#threshold-value") == "own thresholds"
    page.locator("#threshold").evaluate("e => { e.value = 99; e.dispatchEvent(new Event('input')) }")
    assert page.inner_text("#threshold-value") == "99%"
    assert page.inner_text("#summary") == "1 photograph · 0 tags"
    _open(page)
    assert page.locator("#lists button.yes").count() == 0
    page.locator("#threshold").evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')) }")
    assert page.locator("#lists button.yes").count() == 2
    assert page.inner_text("#lists .count") == "2 tags"
    page.click("#own-thresholds")
    assert page.inner_text("#threshold-value") == "own thresholds"
    assert """answer = client.tag("coffee.jpg", ["cup", "spaceship"])""" in page.text_content("#python")
    page.click("#close")
    page.select_option("#vocabulary", "voc20")
    expect(page.locator("#summary")).not_to_contain_text("still to do", timeout=LONG)
    _open(page)
    expect(page.locator("#lists .tags li")).to_have_count(20)
    assert "vocabulary=voc20" in page.text_content("#curl")
    assert """client.tag("coffee.jpg", vocabulary="voc20")""" in page.text_content("#python")


def test_empty_label_field_shows_an_error(open_page: OpenPage) -> None:
    page = open_page()
    _own_words(page, "")
    assert page.inner_text("#asked .fault") == "Type at least one word, for example: beach."


def test_default_view_shows_the_tags_and_guesses_of_the_service(open_page: OpenPage, address: str) -> None:
    import httpx
    from playwright.sync_api import expect

    page = open_page()
    _tagged(page, "cat.jpg")
    _open(page)
    with httpx.Client(base_url=address, timeout=60) as client:
        files = {"image": (EXAMPLES / "cat.jpg").read_bytes()}
        (image,) = client.post("/v1/tag", files=files).json()["images"]
    expect(page.locator("#lists .tags button.yes")).to_have_count(len(image["tags"]))
    expect(page.locator("#lists .guess")).to_have_count(len(image["guesses"]))
    assert page.is_hidden("#threshold")
    assert 'client.tag("cat.jpg")' in page.text_content("#python")


def test_guesses_and_warnings_are_marked(open_page: OpenPage, check_view: CheckView) -> None:
    page = open_page()
    _tagged(page, "coffee.jpg")
    _own_words(page, "no dog, submarine, giraffe, violin")
    page.wait_for_selector("#grid .chip.guess")
    assert "Nothing recognised with confidence" in page.inner_text("#grid .nothing")
    _open(page)
    assert page.locator("#lists .guess").count() == 3
    assert all("a guess" in text for text in page.locator("#lists .guess").all_inner_texts())
    assert "no dog: it names what is absent" in page.inner_text("#lists .warning")
    page.click("#lists .others summary")
    check_view(page)


def test_all_tags_can_be_downloaded(open_page: OpenPage) -> None:
    page = open_page()
    _tagged(page, "cat.jpg", "coffee.jpg")
    with page.expect_download() as given:
        page.click("#as-csv")
    rows = list(csv.DictReader(given.value.path().read_text(encoding="utf-8-sig").splitlines()))
    shown = {"cat.jpg": _chips(page, 0), "coffee.jpg": _chips(page, 1)}
    for name, chips in shown.items():
        assert [row["label"] for row in rows if row["path"] == name] == chips
    with page.expect_download() as given:
        page.click("#as-json")
    told = json.loads(given.value.path().read_text())
    assert {each["path"]: [tag["label"] for tag in each["tags"]] for each in told} == shown


def test_copied_python_code_runs(open_page: OpenPage, monkeypatch: Any, capsys: Any) -> None:
    page = open_page()
    _tagged(page, "cat.jpg")
    _open(page)
    monkeypatch.chdir(EXAMPLES)
    exec(page.text_content("#python"), {})
    assert "cat 0." in capsys.readouterr().out


def test_page_works_with_keyboard_only(open_page: OpenPage) -> None:
    page = open_page()
    _tagged(page, "cat.jpg", "coffee.jpg")
    page.focus("#grid .shot")
    page.keyboard.press("Enter")
    page.wait_for_selector("#lists .tags")
    page.focus("#opened-remove")
    page.keyboard.press("Tab")
    page.wait_for_selector("#picture[data-label='cat']")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#file:has-text('coffee.jpg')")


def test_heic_image_is_shown_using_the_service_preview(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "telephone.heic").write_bytes(samples.HEIC)
    page.set_input_files("#files", tmp_path / "telephone.heic")
    _settled(page, 1)
    page.wait_for_selector("#grid img:not([hidden])")
    assert page.locator("#grid img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.click("#grid .shot")
    page.wait_for_selector("#picture:not([hidden])")


def test_tapping_a_tag_on_a_phone_scrolls_to_the_image(open_page: OpenPage, check_view: CheckView) -> None:
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 500})
    _tagged(page, "cat.jpg")
    _own_words(page, "cat, animal, dog, sofa, table, tree, car, house, sky, sea")
    page.wait_for_selector("#grid .chip.yes")
    page.tap("#grid .shot")
    page.wait_for_selector("#lists .tags")
    assert page.inner_text("#legend-label").startswith("Tap a tag")
    page.tap("#lists .others summary")
    page.tap("#lists .others li:last-child button")
    page.wait_for_selector("#picture[data-label]")
    page.wait_for_function("() => document.getElementById('stage').getBoundingClientRect().top >= 0")
    check_view(page)


@pytest.mark.parametrize("view", ["tag", "vocabularies", "checkpoints"])
def test_fingers_can_hit_everything(open_page: OpenPage, view: str) -> None:
    page = open_page(f"#{view}", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    page.wait_for_load_state("networkidle")
    if view == "tag":
        assert page.inner_text("#empty h2:visible") == "What is on your photographs?"
        _tagged(page, "cat.jpg")
        _own_words(page, "cat, sofa")
        assert page.evaluate(TOO_SMALL) == []
        _open(page)
    assert page.evaluate(TOO_SMALL) == []


def test_fingers_can_hit_what_marks(open_page: OpenPage, address: str) -> None:
    import httpx

    httpx.put(f"{address}v1/vocabularies/fingers", json=["cat", "cup"], timeout=60)
    page = open_page("#improve", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    page.set_input_files("#some", EXAMPLES / "cat.jpg")
    assert page.evaluate(TOO_SMALL) == []
    page.tap("#suggest")
    page.wait_for_selector("#marks .yes")
    assert page.evaluate(TOO_SMALL) == []
    page.tap("#marks .yes >> nth=0")
    page.tap("#mark-rest")
    page.tap("#calibrate")
    page.wait_for_selector("#use-improved:not([hidden])")
    assert page.evaluate(TOO_SMALL) == []


def test_page_is_available_in_german_and_remembers_the_language(
    open_page: OpenPage, check_view: CheckView
) -> None:
    page = open_page(locale="de-DE")
    assert page.inner_text("#empty h2") == "Fotos hier ablegen"
    check_view(page)
    _tagged(page, "cat.jpg")
    assert _chips(page) == ["Katze"]
    _open(page)
    page.hover("#lists .tags button")
    page.wait_for_selector("#picture[data-label='Katze']")
    page.click("#close")
    _own_words(page, "Hund, Katze")
    page.wait_for_selector("#grid .chip.yes:has-text('Katze')")
    page.select_option("#vocabulary", "*")
    _open(page)
    page.locator("#lists .tags button").first.click()
    page.wait_for_selector("#picture[data-label='Katze']")
    page.select_option("#language", "en")
    page.wait_for_selector("#lists .yes:has-text('cat')")
    page.reload()
    page.wait_for_selector("#empty h2:has-text('Drop photographs here')")
    assert page.get_attribute("html", "lang") == "en"


def test_camera_photo_is_tagged(open_page: OpenPage, check_view: CheckView) -> None:
    page = open_page()
    page.click("#camera")
    page.wait_for_selector("#viewfinder[open]")
    check_view(page)
    page.click("#shoot")
    _settled(page, 1)
    assert page.inner_text("#grid .file") == "camera-1.jpg"
    assert page.evaluate("document.querySelector('#video').srcObject === null")


def test_phone_uses_its_native_camera_input(open_page: OpenPage) -> None:
    page = open_page(has_touch=True, is_mobile=True)
    assert page.is_visible("label[for=taken]")
    assert page.is_hidden("#camera")


def test_two_vocabularies_and_checkpoints_are_shown_side_by_side(
    open_page: OpenPage, address: str, check_view: CheckView
) -> None:
    import httpx
    from playwright.sync_api import expect

    with httpx.Client(base_url=address) as client:
        other = load(client, "candidate")
    page = open_page()
    page.wait_for_selector("#vocabulary option[value='coco80']", state="attached")
    page.select_option("#vocabulary", "coco80")
    page.click("#asked summary")
    page.select_option("#beside", "vocabulary voc20")
    _tagged(page, "coffee.jpg")
    _open(page)
    expect(page.locator("#lists h3")).to_have_text(["coco80", "voc20"])
    check_view(page)
    page.click("#close")
    page.select_option("#beside", f"checkpoint {other}")
    expect(page.locator("#summary")).not_to_contain_text("still to do", timeout=LONG)
    _open(page)
    expect(page.locator("#lists h3").nth(1)).to_contain_text(other[7:19], timeout=LONG)
    with page.expect_response("**/v1/explain") as explained:
        page.locator("#lists section").nth(1).locator("li button").first.hover()
    assert explained.value.json()["checkpoint"] == other


def test_views_fit_the_window_and_are_accessible(open_page: OpenPage, check_view: CheckView) -> None:
    page = open_page(viewport={"width": 1200, "height": 700})
    check_view(page)
    _tagged(page, "coffee.jpg")
    check_view(page)
    _open(page)
    for closed in page.locator("#result details:not([hidden]) summary").all():
        closed.click()
    check_view(page)


def test_api_docs_load_no_external_resources(open_page: OpenPage, address: str) -> None:
    page = open_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}docs")
    page.wait_for_selector("#operations-tagging-tag")
    page.click("#operations-tagging-tag button")
    page.wait_for_selector("#operations-tagging-tag .opblock-body")
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
