"""Vocabularies of any shape, for hypothesis."""

from hypothesis import strategies as st

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.model.words import clean_text

_CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn"))
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
texts = (
    st.text(_CHARACTERS, min_size=1, max_size=12)
    .map(clean_text)
    .filter(lambda text: text and not _DIRECTIONS & set(text))
)
_names = texts.map(lambda text: Label(name=text).name)
_languages = st.sampled_from(["de", "fr", "pt-BR", "zh-Hant", "haw"])


@st.composite
def vocabularies(draw: st.DrawFn, max_size: int = 8) -> Vocabulary:
    """With parents, exclusive groups, a precision or a recall and every other field, each set or left out."""
    names = draw(st.lists(_names, min_size=1, max_size=max_size, unique_by=str.casefold))
    above = [draw(st.none() | st.integers(0, row - 1)) if row else None for row in range(len(names))]
    siblings: dict[int | None, list[int]] = {}
    for row, parent in enumerate(above):
        siblings.setdefault(parent, []).append(row)
    groups = {
        row: f"group {parent}"
        for parent, rows in siblings.items()
        if len(rows) > 1 and draw(st.booleans())
        for row in rows[: draw(st.integers(2, len(rows)))]
    }
    labels = [
        Label(
            name=name,
            synonyms=tuple(draw(st.lists(texts, max_size=2))),
            prompts=tuple(draw(st.lists(texts, max_size=2))),
            description=draw(st.text(st.characters(codec="utf-8"), max_size=12)),
            parent=None if above[row] is None else names[above[row]],
            exclusive_group=groups.get(row),
            threshold=draw(st.none() | st.floats(0, 1)),
            translations=draw(st.dictionaries(_languages, texts, max_size=2)),
        )
        for row, name in enumerate(names)
    ]
    order = draw(st.permutations(labels))
    shares = st.floats(0, 1, exclude_min=True, exclude_max=True)
    settings = draw(st.sampled_from(["precision", "recall"]).map(lambda name: (name,)) | st.just(()))
    said = {name: draw(shares) for name in settings}
    return Vocabulary(name=draw(texts), labels=tuple(order), **said)
