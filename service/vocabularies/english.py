"""Whether a text is English, by a word list: Debian's wamerican-large without accents and possessives."""

import gzip
import re
import unicodedata
from functools import cache
from importlib.resources import files
from string import ascii_lowercase

_WORD = re.compile(r"[^\W\d_]+")


def is_english(text: str) -> bool:
    """Whether at least half of the words of a text are English, regardless of capitals and accents."""
    words = _WORD.findall(_plain(text))
    known = sum(word in english_words() or word in ascii_lowercase for word in words)
    return 2 * known >= len(words)


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@cache
def english_words() -> frozenset[str]:
    """The words of the list, in lower case and without accents."""
    packed = files("sigrl.service.vocabularies").joinpath("names", "english-words.txt.gz").read_bytes()
    return frozenset(gzip.decompress(packed).decode().split())
