"""Reads Label Studio's labelling configuration: which choices there are for which photograph."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import InvalidLabelsError, ParameterError

_HINT = (
    'the configuration needs <Image name="image" value="$image"/> and '
    '<Choices name="tags" toName="image" choice="multiple"><Choice value="dog"/></Choices>'
)


@dataclass(frozen=True)
class ChoiceControl:
    """The choices that a configuration offers for a photograph."""

    name: str
    photograph: str
    """Name of the element that shows the photograph."""
    field: str
    """The field of a task that has the photograph."""
    choices: Mapping[str, str]
    """What people read, and how annotations spell it."""
    is_multiple: bool
    """Whether several choices can be made."""

    def labels(self, vocabulary: Vocabulary) -> dict[str, str]:
        """The vocabulary's names of the choices, and how annotations spell them. Raises InvalidLabelsError if
        a choice is not in the vocabulary."""
        names = {name.casefold(): name for name in vocabulary.names}
        if unknown := [shown for shown in self.choices if shown.casefold() not in names]:
            raise InvalidLabelsError(
                f"the vocabulary '{vocabulary.name}' has no label {unknown[0][:80]!a}",
                f"{len(unknown)} of {len(self.choices)} choices are missing in it: add them to it, or take "
                "them out of the labelling configuration",
            )
        return {names[shown.casefold()]: spelt for shown, spelt in self.choices.items()}


def read_config(text: str) -> ChoiceControl:
    """Reads a configuration. Raises ParameterError if it has no choices for a photograph."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        # Entities can expand to any size.
        raise ParameterError("the labelling configuration declares a document type", "leave it out")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ParameterError(f"the labelling configuration is not XML: {error}", _HINT) from error
    photographs = {each.get("name", ""): each.get("value", "") for each in root.iter("Image")}
    for element in root.iter("Choices"):
        shown = element.get("toName", "")
        choices = dict(_choices(element.iter("Choice")))
        if shown in photographs and choices:
            is_multiple = element.get("choice", "single") == "multiple"
            field = photographs[shown].removeprefix("$")
            return ChoiceControl(element.get("name", ""), shown, field, choices, is_multiple)
    raise ParameterError("the labelling configuration has no choices for a photograph", _HINT)


def _choices(elements: Iterable[ElementTree.Element]) -> Iterable[tuple[str, str]]:
    for element in elements:
        if value := element.get("value", "").strip():
            yield value, element.get("alias", value)
