"""The names of the built-in vocabularies in other languages."""

import pytest

from sigrl.service.errors import ParameterError
from sigrl.service.vocabularies.builtin import BUILTIN, builtin, from_names, parse_labels
from sigrl.service.vocabularies.english import is_english
from sigrl.service.vocabularies.translations import LANGUAGES, names_in


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_cover_exactly_the_built_in_labels(language):
    wanted = {name for vocabulary in BUILTIN for name in builtin(vocabulary).names}
    assert names_in(language).keys() == wanted


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", BUILTIN)
def test_translated_names_are_unique_within_a_vocabulary(name, language):
    names = [label.translations[language] for label in builtin(name).labels]
    assert all(each == each.strip() and each for each in names)
    folded = [each.casefold() for each in names]
    assert sorted({each for each in folded if folded.count(each) > 1}) == []


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_translated_names_use_their_own_script(language):
    latin = [name for name in names_in(language).values() if name.isascii()]
    assert latin == []


def test_translations_use_the_word_sense_of_the_hierarchy():
    german = {label.name: label.translations["de"] for label in builtin("everyday").labels}
    assert german["seal"] == "Robbe"
    assert german["construction crane"] == "Baukran"
    assert german["computer mouse"] == "Computermaus"
    assert german["bow and arrow"] == "Pfeil und Bogen"
    assert german["baseball bat"] == "Baseballschläger"
    assert german["cabinet"] == "Schrank"


def test_translations_do_not_change_the_texts_hash():
    plain = [label.model_copy(update={"translations": {}}) for label in builtin("everyday").labels]
    assert (
        builtin("everyday").texts_hash == builtin("everyday").model_copy(update={"labels": plain}).texts_hash
    )


def meanings(names, language=None):
    return {label.name: label.translations.get("en") for label in from_names(names, language).labels}


def test_foreign_label_is_resolved_by_its_translation():
    assert meanings(["Hund", "chien", "犬", "狗", "perro", "KATZE", "blorf"]) == {
        "Hund": "dog",
        "chien": "dog",
        "犬": "dog",
        "狗": "dog",
        "perro": "dog",
        "KATZE": "cat",
        "blorf": None,
    }


def test_word_that_is_also_english_stays_english():
    words = ["Gift", "pie", "chat", "pan", "bois", "four", "Boot", "Rock", "dog", "sofa"]
    assert meanings(words) == dict.fromkeys(words)


def test_requested_language_takes_precedence_for_labels():
    assert meanings(["pan", "Hund", "sofa"], "es") == {"pan": "bread", "Hund": "dog", "sofa": None}
    assert meanings(["Boot", "Gans"], "de-AT") == {"Boot": "boat", "Gans": "goose"}
    assert meanings(["Hund"], "en") == {"Hund": None}
    with pytest.raises(ParameterError, match="cannot be read in the language 'sv'"):
        from_names(["hund"], "sv")


def test_ambiguous_word_gets_the_meaning_of_most_languages():
    assert meanings(["vela", "cachorro"]) == {"vela": "candle", "cachorro": "puppy"}
    assert meanings(["cachorro"], "pt") == {"cachorro": "dog"}


def test_parse_labels_uses_the_given_language():
    (label,) = parse_labels(["Brot"], "de").labels
    assert (label.name, label.english, label.texts(["a {label}"])) == ("Brot", "bread", ("a bread",))


@pytest.mark.parametrize("text", ["dog", "Dogs", "crème de menthe", "air balloon", "TV", "3d", "a T-shirt"])
def test_is_english_recognizes_english_text(text):
    assert is_english(text)


@pytest.mark.parametrize("text", ["Hunde", "perros", "犬", "Bürgersteig", "flickan"])
def test_is_english_rejects_other_text(text):
    assert not is_english(text)
