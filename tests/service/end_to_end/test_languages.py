"""Tags in the reader's language, and labels in the caller's, through every way in."""

import json

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

from sigrl.model.label_warnings import ABSENCE, UNKNOWN
from sigrl.model.vocabulary import Vocabulary
from sigrl.model.words import best_language
from sigrl.service.app import create_app
from sigrl.service.errors import ParameterError
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

PHOTOGRAPH = ("image", ("photo.jpg", samples.jpeg(), "image/jpeg"))
COLOURS = {
    "labels": [
        {"name": "red", "translations": {"de": "Rot", "pt-BR": "vermelho"}},
        {"name": "blue", "translations": {"de": "Blau"}},
        "green",
    ]
}


@pytest.fixture
def colours(client: TestClient) -> TestClient:
    assert client.put("/v1/vocabularies/colours", json=COLOURS).status_code == 201
    return client


def tags(
    client: TestClient, headers: dict[str, str] | None = None, **data: str
) -> list[tuple[str, str | None]]:
    response = client.post("/v1/tag", files=[PHOTOGRAPH], data=data, headers=headers)
    assert response.status_code == 200, response.text
    return [(tag["label"], tag.get("english")) for tag in response.json()["images"][0]["tags"]]


def test_language_parameter_translates_tags_and_keeps_english_names(colours: TestClient) -> None:
    german = [("Blau", "blue"), ("Rot", "red"), ("green", None)]
    assert sorted(tags(colours, vocabulary="colours", top_k="3", language="de-AT")) == german
    assert ("vermelho", "red") in tags(colours, vocabulary="colours", language="pt")
    assert ("red", None) in tags(colours, vocabulary="colours", language="en")
    assert ("red", None) in tags(colours, vocabulary="colours")


def test_language_without_translations_is_rejected(colours: TestClient) -> None:
    data = {"vocabulary": "colours", "language": "sv"}
    response = colours.post("/v1/tag", files=[PHOTOGRAPH], data=data)
    assert response.status_code == 422
    assert "no names in the language 'sv'" in response.json()["detail"]
    assert "de, en, pt-BR" in response.json()["hint"]
    assert colours.post("/v1/tag", files=[PHOTOGRAPH], data={"language": ""}).status_code == 422


@pytest.mark.parametrize(
    ("header", "label"),
    [
        ("de", "Rot"),
        ("sv, de;q=0.8, en;q=0.9", "red"),
        ("en;q=0.1, de-CH", "Rot"),
        ("de;q=0, *", "red"),
        ("sv", "red"),
        ("de;q=much", "red"),
        ("", "red"),
    ],
)
def test_accept_language_is_used_if_no_language_is_given(
    colours: TestClient, header: str, label: str
) -> None:
    headers = {"Accept-Language": header}
    assert label in dict(tags(colours, headers, vocabulary="colours"))
    assert "red" in dict(tags(colours, headers, vocabulary="colours", language="en"))
    assert "red" in dict(tags(colours, headers, labels="red,green"))


def test_json_ndjson_and_explain_use_the_same_translated_labels(colours: TestClient) -> None:
    asked = {"vocabulary": "colours", "language": "de"}
    lines = colours.post(
        "/v1/tag", files=[PHOTOGRAPH], data=asked, headers={"Accept": "application/x-ndjson"}
    )
    assert {tag["label"] for tag in json.loads(lines.text)["image"]["tags"]} == {"Rot", "Blau"}
    maps = colours.post("/v1/explain", files=[PHOTOGRAPH], data=asked).json()["tags"]
    assert {(tag["label"], tag.get("english")) for tag in maps} == {
        ("Rot", "red"),
        ("Blau", "blue"),
        ("green", None),
    }
    plain = colours.post("/v1/explain", files=[PHOTOGRAPH], data={"vocabulary": "colours"}).json()["tags"]
    assert [tag["grid"] for tag in maps] == [tag["grid"] for tag in plain]


def test_default_vocabulary_has_japanese_names(client: TestClient) -> None:
    found = tags(client, language="ja", top_k="963")
    assert ("犬", "dog") in found
    assert len({label for label, _ in found}) == 963


def test_foreign_label_is_returned_with_its_english_meaning(client: TestClient) -> None:
    assert tags(client, labels="Hund,red", top_k="2") == [("red", None), ("Hund", "dog")]
    assert tags(client, labels="Brot,red", language="de", top_k="2") == [("red", None), ("Brot", "bread")]
    refused = client.post("/v1/tag", files=[PHOTOGRAPH], data={"labels": "hund", "language": "sv"})
    assert refused.status_code == 422
    assert "cannot be read in the language 'sv'" in refused.json()["detail"]


def test_unknown_and_negated_labels_get_a_warning() -> None:
    engine = FakeEngine(unknown=("flickan",))
    with TestClient(create_app(Settings(), Tagger(engine=engine))) as client:
        data = {"labels": "red,flickan,kein Hund"}
        answer = client.post("/v1/tag", files=[PHOTOGRAPH], data=data).json()
    told = {each["label"]: each["message"] for each in answer["warnings"]}
    assert told == {"flickan": UNKNOWN, "kein Hund": ABSENCE}


def test_english_translation_is_used_for_scoring(tagger: Tagger) -> None:
    vocabulary = Vocabulary.model_validate(
        {"labels": [{"name": "Rot", "translations": {"en": "red", "fr": "rouge"}}]}
    )
    (tag,) = tagger.tag(samples.jpeg(), vocabulary).tags
    assert (tag.label, tag.english) == ("Rot", "red")
    assert tagger.tag(samples.jpeg(), vocabulary, language="fr").labels == ("rouge",)
    assert tagger.tag(samples.jpeg(), vocabulary, language="en").labels == ("red",)
    assert vocabulary.texts_hash == Vocabulary.from_names(["red"]).texts_hash


def test_python_tagger_handles_languages_like_the_service(tagger: Tagger) -> None:
    assert "Hund" in {tag.label for tag in tagger.tag(samples.jpeg(), top_k=963, language="de").tags}
    with pytest.raises(ParameterError, match="no names in the language 'sv'"):
        tagger.tag(samples.jpeg(), language="sv")


def test_calibration_accepts_original_and_translated_names(colours: TestClient) -> None:
    examples = [{"positive": ["Rot", "BLUE"], "negative": ["green"]}]
    for shown in (examples, [{"positive": ["vermelho"], "negative": "others"}]):
        data = {"examples": json.dumps(shown)}
        response = colours.post("/v1/vocabularies/colours/calibrate", files=[PHOTOGRAPH], data=data)
        assert response.status_code == 200, response.text
    examples[0]["positive"].append("green")
    data = {"examples": json.dumps(examples)}
    both = colours.post("/v1/vocabularies/colours/calibrate", files=[PHOTOGRAPH], data=data)
    assert "both positive and negative" in both.json()["detail"]


def test_feedback_accepts_original_and_translated_names(tagger: Tagger) -> None:
    with TestClient(create_app(Settings(feedback_bytes=1 << 20), tagger)) as client:
        data = {"right": "Hund,Herd", "wrong": "cat", "language": "de"}
        answer = client.post("/v1/feedback", files=[PHOTOGRAPH], data=data).json()
        assert (answer["right"], answer["wrong"]) == (["dog", "stove"], ["cat"])


def test_best_language_matches_language_tags() -> None:
    assert best_language(["de-CH-1996", "fr"], ["fr", "de"]) == "de"
    assert best_language(["pt"], ["pt-BR", "pt-PT"]) == "pt-BR"
    assert best_language(["PT-br"], ["pt-BR"]) == "pt-BR"
    assert best_language(["zh-Hans-CN"], ["zh"]) == "zh"
    assert best_language(["sv"], ["de"]) is None
    assert best_language([], ["de"]) is None
