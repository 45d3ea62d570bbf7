"""Other forms of a word in a list of labels: "Dogs", "a dog" and "fire-truck" are known words too."""

_IRREGULAR = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "knives": "knife",
    "leaves": "leaf",
    "loaves": "loaf",
    "men": "man",
    "people": "person",
    "scarves": "scarf",
    "shelves": "shelf",
    "teeth": "tooth",
    "wolves": "wolf",
    "women": "woman",
}
_COMPOUND = ("men", "people", "children", "knives", "shelves")
"""Those that also end a longer word, such as "snowmen"."""
_BEFORE_ES = ("ses", "xes", "zes", "ches", "shes", "oes")
"""Endings of a plural that has one letter more than an "s"; capes are no cap."""
_ARTICLES = ("a ", "an ", "the ")


def plain(word: str) -> str:
    """A word in normal form for comparison: no capitals, and single spaces between its parts."""
    return " ".join(word.casefold().replace("_", " ").replace("-", " ").split())


def base_forms(word: str) -> tuple[str, ...]:
    """What else a word in normal form may be called: without its article, and in the singular. Most of these
    are no words; the ones that are known are looked up."""
    article = next((one for one in _ARTICLES if word.startswith(one)), "")
    bare = word[len(article) :]
    return (*((bare,) if article else ()), *_singulars(bare))


def _singulars(word: str) -> tuple[str, ...]:
    rest, space, last = word.rpartition(" ")
    if last in _IRREGULAR:
        return (rest + space + _IRREGULAR[last],)
    for plural in _COMPOUND:
        if last.endswith(plural):
            return (word[: -len(plural)] + _IRREGULAR[plural],)
    if not last.endswith("s") or last.endswith("ss"):
        return ()
    singulars = [word[:-1]]
    if last.endswith(_BEFORE_ES):
        singulars.append(word[:-2])
    if last.endswith("ies"):
        singulars.append(f"{word[:-3]}y")
    return tuple(singulars)
