"""Whether headers speak of one patient. Compares names and numbers; never repeats them in a message."""

import re
from collections.abc import Sequence

from domain.imaging.model import PatientIdentity
from domain.imaging.words import fold, found_word

MOST_WRITINGS = 50
"""Ways in which one patient's name, birth date and numbers may be written; more are several people."""
_LETTERS = str.maketrans({"\u00f8": "o", "\u0142": "l", "\u0111": "d", "\u0131": "i", "\u00e6": "a", "\u0153": "o"})
_UMLAUT = re.compile("(?<=[aou])e")
_TITLES = frozenset(("mr", "mrs", "ms", "dr", "prof", "herr", "frau", "jr", "sr"))


def _names(identity: PatientIdentity, anonymous: tuple[str, ...]) -> list[frozenset[str]]:
    """The name's words, one set a script; [] when there is none or it says that it was removed."""
    if not identity.name.strip("^= ") or found_word(identity.name.replace("^", " "), anonymous):
        return []
    groups = [frozenset(_plain(group).split()) - _TITLES for group in identity.name.split("=")]
    return [group for group in groups if group]


def _plain(name: str) -> str:
    """A name as every hospital would write it: without accents, an umlaut and its "e" the same."""
    return _UMLAUT.sub("", fold(re.sub(r"[\^,.]", " ", name)).translate(_LETTERS))


def _same_name(a: list[frozenset[str]], b: list[frozenset[str]]) -> bool | None:
    """True or False when the names can be compared, None when they cannot (absent, or in different scripts)."""
    comparable = [(x, y) for x in a for y in b if _script(x) == _script(y)]
    if not comparable:
        return None
    return any(_covers(x, y) or _covers(y, x) for x, y in comparable)


def _script(words: frozenset[str]) -> str:
    letter = next((char for word in sorted(words) for char in word if char.isalpha()), "")
    code = ord(letter) if letter else 0
    bounds = ((0x250, "latin"), (0x400, "greek"), (0x530, "cyrillic"), (0x600, "hebrew"), (0x780, "arabic"))
    for bound, name in bounds:
        if code < bound:
            return name
    if 0x3040 <= code < 0x3100:
        return "kana"
    if 0x1100 <= code < 0x1200 or 0xAC00 <= code < 0xD7B0:
        return "hangul"
    return "han" if code >= 0x3400 else "other"


def _covers(short: frozenset[str], long: frozenset[str]) -> bool:
    """Every word of the one is a word of the other, or its initial; at least one is a whole word."""
    initials = {word[0] for word in long}
    return bool(short & long) and all(word in long or (len(word) == 1 and word in initials) for word in short)


def _numbers(identity: PatientIdentity) -> set[str]:
    found = {fold(number).strip().lstrip("0") for number in (identity.patient_id, *identity.other_ids)}
    return found - {""}


def differ(a: PatientIdentity, b: PatientIdentity, *, one_study: bool, anonymous: tuple[str, ...] = ()) -> bool:
    """True when two identities cannot be taken for the same patient.

    A birth date or a name that contradicts is enough. Numbers may differ between hospitals, so across studies they
    count only when name and birth date do not both agree; inside one study they always count.
    """
    names = _same_name(_names(a, anonymous), _names(b, anonymous))
    births = a.birth_date == b.birth_date if a.birth_date and b.birth_date else None
    if names is False or births is False:
        return True
    mine, theirs = _numbers(a), _numbers(b)
    if not mine or not theirs or mine & theirs:
        return False
    return one_study or not (names and births)


def several(identities: Sequence[PatientIdentity], *, one_study: bool, anonymous: tuple[str, ...] = ()) -> bool:
    """True when any two of the identities differ."""
    written = {(one.name, one.birth_date, one.patient_id, one.other_ids): one for one in identities if one.digest}
    if len(written) > MOST_WRITINGS:
        return True
    distinct = [written[key] for key in sorted(written)]
    return any(
        differ(a, b, one_study=one_study, anonymous=anonymous)
        for index, a in enumerate(distinct)
        for b in distinct[index + 1 :]
    )


def contradicts(a: PatientIdentity, case: PatientIdentity, anonymous: tuple[str, ...] = ()) -> bool:
    """True when a header's name or birth date is not the case's. Numbers say nothing: each hospital has its own."""
    births = bool(a.birth_date and case.birth_date) and a.birth_date != case.birth_date
    return births or _same_name(_names(a, anonymous), _names(case, anonymous)) is False


def comparable(a: PatientIdentity, case: PatientIdentity, anonymous: tuple[str, ...] = ()) -> bool:
    """True when the header says something that can be held against the case's patient."""
    births = bool(a.birth_date and case.birth_date)
    names = _same_name(_names(a, anonymous), _names(case, anonymous)) is not None
    return births or names or bool(_numbers(a) & _numbers(case))
