"""Words in what people type: descriptions and protocol names, in any language and any punctuation."""

import re
import unicodedata
from functools import lru_cache

_TOKEN = re.compile(r"[^\W_]+")
_SIGN = re.compile(r"(?<=[^\W\d_])([+-])(?![^\W\d_])")
_DIGITS = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_NO_SPACES = re.compile("[\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
"""Scripts that put no spaces between words: there a word may occur anywhere."""


@lru_cache(maxsize=4096)
def fold(text: str) -> str:
    """Text without case, accents and punctuation: words and numbers separated by one space, one at each end.

    A "+" or "-" that ends a word is kept as the word plus or minus ("C+", "KM-"): it tells whether contrast was given.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    plain = _SIGN.sub(lambda sign: " plus " if sign[1] == "+" else " minus ", plain)
    tokens = " ".join(_TOKEN.findall(_DIGITS.sub(" ", plain)))
    return f" {tokens} "


@lru_cache(maxsize=1024)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str] | None:
    """One expression for a list of words; "*" at the end makes a word a beginning, as German compounds need."""
    alternatives = []
    for word in words:
        folded = re.escape(fold(word.rstrip("*")).strip())
        if not folded:
            continue
        if _NO_SPACES.search(word):
            alternatives.append(folded)
        else:
            alternatives.append(f"(?<= ){folded}" + ("" if word.endswith("*") else "(?= )"))
    return re.compile("|".join(alternatives)) if alternatives else None


@lru_cache(maxsize=4096)
def found_word(text: str, words: tuple[str, ...]) -> str:
    """The first place where one of the words occurs, folded; "" when none does."""
    if not text:
        return ""
    pattern = _pattern(words)
    match = pattern.search(fold(text)) if pattern is not None else None
    return match[0].strip() if match else ""


def has_word(text: str, words: tuple[str, ...]) -> bool:
    """True when one of the words occurs in the text."""
    return bool(found_word(text, words))
