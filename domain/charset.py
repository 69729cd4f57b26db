"""Which character set names in bytes were written in, by a small rule; exact text where it can be told, none where not.

A zip from before UTF-8 says nothing of its names' character set, so all names of one archive are looked at together:

1. Western names (code page 437, 850 or 1252): every character beyond ASCII is a Latin letter, in a word of more ASCII
   ones.
2. A set of single bytes fits where every character beyond ASCII is a letter of its script, words are of that script
   alone and written as words are (all capitals, all small, or a capital first), and half the longer words have a vowel:
   Russian in code page 1251, 866 or KOI8-R, Greek in 1253 or 737, Arabic in 1256 or 720. Of several that fit, the one
   with most vowels.
3. A set of double bytes fits by the share of its characters that are common ones: kana, and the first level of kanji,
   for Japanese (code page 932); the first level of GB 2312 for Chinese (GB18030), that of Big5 for traditional Chinese;
   the Hangul of KS X 1001 for Korean (949). Korean and Chinese share most of their bytes: it is Korean where two thirds
   of the characters are among the Hangul that names are mostly made of.

Whatever is decoded encodes to the same bytes again. The rule is a guess, and so the bytes are kept beside the text.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_VOWELS: Final = {
    "CYRILLIC": frozenset("аеёиоуыэюяіїєАЕЁИОУЫЭЮЯІЇЄ"),
    "GREEK": frozenset("αεηιουωάέήίόύώϊϋΐΰΑΕΗΙΟΥΩΆΈΉΊΌΎΏΪΫ"),
    # Short vowels are not written: a word has one of the long ones or not.
    "ARABIC": frozenset("اأإآويىةئؤء"),
}
_WESTERN: Final = ("cp437", "cp850", "cp1252")
_SINGLE: Final = (
    ("cp1251", "CYRILLIC"),
    ("cp866", "CYRILLIC"),
    ("koi8-r", "CYRILLIC"),
    ("cp1253", "GREEK"),
    ("cp737", "GREEK"),
    ("cp1256", "ARABIC"),
    ("cp720", "ARABIC"),
)
_DOUBLE: Final = ("cp932", "cp949", "gb18030", "big5")
_FITS: Final = 0.75
"""Least share of common characters."""
_HANGUL: Final = frozenset(
    "가각간갈감강개검견결경고골과관교구국권규균근금기길김나난남내노뇌단담대도독동두등라량래력로록론류률르름리림립마막만말망"
    "매맥면명목무문물미민바박반발방배백범법변별병보복본부분비사산상새색생서석선설성세소속손송수술숙순슬승시식신실심아안암앙"
    "애액약양어언엄에여역연열염영예오옥온완왕외요용우욱운원월위유육윤율은을음의이인일임입자작장재저적전절점정제조족종좌주"
    "준중지직진질차찬창채책척천철청체초총최추축출충치침카타탁탄태터통투특파판팔편평폐포표품피필하학한함합항해행향허헌현혈형"
    "혜호혹홍화확환황회효후훈흉희"
)
_WORD: Final = r"[^\W\d_]+"


def decoded(names: Sequence[bytes]) -> str | None:
    """The character set that all of these names fit, as Python calls it; None where none does well enough."""
    foreign = [name for name in names if not name.isascii()]
    for charset in _WESTERN:
        if (texts := _texts(foreign, charset)) and _western(texts):
            return charset
    best, share = None, 0.0
    for charset, script in _SINGLE:
        if (texts := _texts(foreign, charset)) and (found := _vowels(texts, script)) > share:
            best, share = charset, found
    if best is not None:
        return best
    for charset in _DOUBLE:
        if (texts := _texts(foreign, charset)) and (found := _common(texts, charset)) > share:
            best, share = charset, found
    return best if share >= _FITS else None


def _texts(names: Sequence[bytes], charset: str) -> list[str]:
    try:
        texts = [name.decode(charset) for name in names]
        whole = all(text.encode(charset) == name for text, name in zip(texts, names, strict=True))
    except UnicodeError:
        return []
    return texts if whole else []


def _western(texts: Sequence[str]) -> bool:
    """Whether all beyond ASCII is single letters in words of Latin script."""
    if not all(_are_letters(text, "LATIN") for text in texts):
        return False
    words = [word for text in texts for word in re.findall(_WORD, text) if not word.isascii()]
    return all(_cased(word) and 2 * sum(each.isascii() for each in word) > len(word) for word in words)


def _vowels(texts: Sequence[str], script: str) -> float:
    """Share of the letters that are vowels; 0 where these are no words of this script."""
    if not all(_are_letters(text, script) for text in texts):
        return 0.0
    words = [word for text in texts for word in re.findall(_WORD, text) if not word.isascii()]
    if any(any(each.isascii() for each in word) or not (script == "ARABIC" or _cased(word)) for word in words):
        return 0.0
    vowels = _VOWELS[script]
    # Two or three letters may be an abbreviation.
    longer = [word for word in words if len(word) > 3] or words
    if 2 * sum(bool(vowels & set(word)) for word in longer) < len(longer):
        return 0.0
    letters = "".join(words)
    return sum(each in vowels for each in letters) / len(letters)


def _are_letters(text: str, script: str) -> bool:
    beyond = {each for each in text if ord(each) > 127}
    return all(each.isalpha() and unicodedata.name(each, "").startswith(script) for each in beyond)


def _cased(word: str) -> bool:
    return word.isupper() or not word[1:] or word[1:].islower()


def _common(texts: Sequence[str], charset: str) -> float:
    """Share of the characters beyond ASCII that are common ones of this character set."""
    beyond = [character for text in texts for character in text if ord(character) > 127]
    if charset == "cp949" and sum(each in _HANGUL for each in beyond) * 3 < 2 * len(beyond):
        return 0.0
    share = sum(_is_common(each, charset) for each in beyond) / len(beyond)
    # Of two that fit, the one that says more: kana, and Hangul names, are no accident.
    return share + (0.1 if charset in ("cp932", "cp949") else 0.0) if share >= _FITS else share


def _is_common(character: str, charset: str) -> bool:
    coded = character.encode(charset)
    if len(coded) != 2:
        return False  # half-width kana, which most bytes can be read as; or four bytes of GB18030
    lead, trail = coded
    match charset:
        case "cp932":
            return lead in (0x82, 0x83) or 0x88 <= lead <= 0x97 or character in "、。・ー々「」【】"
        case "gb18030":
            return 0xB0 <= lead <= 0xD7 and trail >= 0xA1
        case "big5":
            return 0xA4 <= lead <= 0xC6
        case _:
            return 0xB0 <= lead <= 0xC8 and trail >= 0xA1
