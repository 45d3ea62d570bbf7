"""The page's texts: complete in every language, all of them used, and nowhere but in their files."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

WEB = Path(__file__).parents[3] / "service" / "web"
TEXTS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in WEB.glob("*.json")}
CODE = {path.name: path.read_text(encoding="utf-8") for path in WEB.glob("*.js")}
PAGE = (WEB / "index.html").read_text(encoding="utf-8")

# Keys that are put together: `t(`state.${each.state}`)`.
BEGINNINGS = {
    found
    for text in CODE.values()
    for found in re.findall(r"`([a-z-]+\.)\$\{", text)
    if any(key.startswith(found) for key in TEXTS["en"])
}
USED = {
    *(key for text in CODE.values() for key in re.findall(r'"([a-z]+(?:[.?-][a-z?-]+)*)"', text)),
    *re.findall(r'data-(?:text|aria|hint)="([^"]+)"', PAGE),
}
PROBLEMS = re.findall(
    r'code = "([a-z-]+)"', "".join(path.read_text() for path in (WEB.parent / "errors").glob("*.py"))
)


def _placeholders(text: str | dict[str, str]) -> set[str]:
    forms = text.values() if isinstance(text, dict) else [text]
    return {name for form in forms for name in re.findall(r"\{(\w+)\}", form)}


def test_all_languages_have_the_same_texts_and_placeholders() -> None:
    assert set(TEXTS) == {"en", "de"}
    assert TEXTS["de"].keys() == TEXTS["en"].keys()
    for key, text in TEXTS["en"].items():
        assert _placeholders(TEXTS["de"][key]) == _placeholders(text), key


def test_every_text_key_is_defined_and_every_text_is_used() -> None:
    shown = re.findall(r'data-(?:text|aria|hint)="([^"]+)"', PAGE)
    asked = [key for text in CODE.values() for key in re.findall(r'\bt\("([^"]+)"', text)]
    assert {key for key in [*shown, *asked] if key not in TEXTS["en"]} == set()
    unused = {key for key in TEXTS["en"] if key not in USED and not key.startswith((*BEGINNINGS, "problem."))}
    assert unused == set()


def test_problem_texts_match_known_problems_and_name_no_command() -> None:
    told = {key.removeprefix("problem.") for key in TEXTS["en"] if key.startswith("problem.")}
    assert told - set(PROBLEMS) == {"other", "unreachable"}
    for texts in TEXTS.values():
        assert not any(re.search(r"curl|sigrl |SIGRL_", str(text)) for text in texts.values())


def test_html_contains_no_hard_coded_text() -> None:
    found = []

    class Texts(HTMLParser):
        def handle_data(self, data: str) -> None:
            if data.strip():
                found.append(data.strip())

    Texts().feed(PAGE)
    # The product's name, the languages in themselves, and signs that are the same everywhere.
    allowed = {"SigRL Tagger", "English", "Deutsch", "\u2039", "\u203a", "%"}
    assert set(found) - allowed == set()
