"""The names of the built-in vocabularies in other languages."""

import pytest

from sigrl.service.errors import ParameterError
from sigrl.service.vocabularies.builtin import BUILTIN, builtin, from_names, parse_labels
from sigrl.service.vocabularies.english import is_english
from sigrl.service.vocabularies.translations import LANGUAGES, names_in


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_built_in_label_has_a_name_and_no_other_name_is_there(language):
    wanted = {name for vocabulary in BUILTIN for name in builtin(vocabulary).names}
    assert names_in(language).keys() == wanted


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", BUILTIN)
def test_no_two_labels_of_a_vocabulary_have_the_same_name(name, language):
    names = [label.translations[language] for label in builtin(name).labels]
    assert all(each == each.strip() and each for each in names)
    folded = [each.casefold() for each in names]
    assert sorted({each for each in folded if folded.count(each) > 1}) == []


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_names_in_their_own_script(language):
    latin = [name for name in names_in(language).values() if name.isascii()]
    assert latin == []


def test_senses_follow_the_hierarchy():
    german = {label.name: label.translations["de"] for label in builtin("everyday").labels}
    assert german["seal"] == "Robbe"
    assert german["construction crane"] == "Baukran"
    assert german["computer mouse"] == "Computermaus"
    assert german["bow and arrow"] == "Pfeil und Bogen"
    assert german["baseball bat"] == "Baseballschläger"
    assert german["cabinet"] == "Schrank"


def test_translations_change_nothing_that_the_text_tower_sees():
    plain = [label.model_copy(update={"translations": {}}) for label in builtin("everyday").labels]
    assert (
        builtin("everyday").texts_hash == builtin("everyday").model_copy(update={"labels": plain}).texts_hash
    )


def meanings(names, language=None):
    return {label.name: label.translations.get("en") for label in from_names(names, language).labels}


def test_a_foreign_word_is_found_by_its_translation():
    assert meanings(["Hund", "chien", "犬", "狗", "perro", "KATZE", "blorf"]) == {
        "Hund": "dog",
        "chien": "dog",
        "犬": "dog",
        "狗": "dog",
        "perro": "dog",
        "KATZE": "cat",
        "blorf": None,
    }


def test_a_word_that_is_english_too_stays_english():
    words = ["Gift", "pie", "chat", "pan", "bois", "four", "Boot", "Rock", "dog", "sofa"]
    assert meanings(words) == dict.fromkeys(words)


def test_labels_are_read_first_in_the_language_that_is_asked_for():
    assert meanings(["pan", "Hund", "sofa"], "es") == {"pan": "bread", "Hund": "dog", "sofa": None}
    assert meanings(["Boot", "Gans"], "de-AT") == {"Boot": "boat", "Gans": "goose"}
    assert meanings(["Hund"], "en") == {"Hund": None}
    with pytest.raises(ParameterError, match="cannot be read in the language 'sv'"):
        from_names(["hund"], "sv")


def test_a_word_of_several_languages_has_the_meaning_that_most_of_them_share():
    assert meanings(["vela", "cachorro"]) == {"vela": "candle", "cachorro": "puppy"}
    assert meanings(["cachorro"], "pt") == {"cachorro": "dog"}


def test_a_line_of_labels_is_read_in_a_language():
    (label,) = parse_labels(["Brot"], "de").labels
    assert (label.name, label.english, label.texts(["a {label}"])) == ("Brot", "bread", ("a bread",))


@pytest.mark.parametrize("text", ["dog", "Dogs", "crème de menthe", "air balloon", "TV", "3d", "a T-shirt"])
def test_english(text):
    assert is_english(text)


@pytest.mark.parametrize("text", ["Hunde", "perros", "犬", "Bürgersteig", "flickan"])
def test_not_english(text):
    assert not is_english(text)
