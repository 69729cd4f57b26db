"""Names from before UTF-8: the character set that fits all of them."""

import pytest

from domain.charset import decoded

ARCHIVES = {
    "cp437": ["Größe", "Müller", "Pérez"],
    "cp850": ["Ødegård", "Gonçalves"],
    "cp1252": ["Müller", "Ångström"],
    "cp1251": ["Снимки/печень.dcm", "Иванов Иван"],
    "cp866": ["Снимки/печень.dcm", "Петров"],
    "koi8-r": ["Снимки/печень.dcm", "Кузнецова"],
    "cp1253": ["Παπαδόπουλος", "ήπαρ.dcm", "ΑΞΟΝΙΚΗ"],
    "cp737": ["Ασθενής/ήπαρ.dcm", "Γιάννης"],
    "cp1256": ["تقرير الأشعة.dcm", "محمد أحمد/صورة"],
    "cp720": ["تقرير الأشعة.dcm", "محمد"],
    "cp932": ["肝臓レポート.dcm", "患者/山田太郎", "検査"],
    "cp949": ["간암_보고서.dcm", "환자/김철수", "영상"],
    "gb18030": ["肝脏报告.dcm", "张伟", "检查报告"],
    "big5": ["肝臟報告.dcm", "病人/陳大文", "檢查"],
}


@pytest.mark.parametrize("charset", ARCHIVES)
def test_the_names_of_an_archive_tell_their_character_set(charset: str) -> None:
    """All of them together, plain ones among them; and what is read encodes to the same bytes."""
    raw = [name.encode(charset) for name in ARCHIVES[charset]]
    assert decoded([b"DICOMDIR", *raw, b"IM0001"]) == charset


@pytest.mark.parametrize("charset", ["cp1251", "cp737", "gb18030", "cp932", "big5", "cp1256"])
def test_a_single_word_is_often_enough(charset: str) -> None:
    """The first name of each archive alone."""
    assert decoded([ARCHIVES[charset][0].encode(charset)]) == charset


@pytest.mark.parametrize("raw", [bytes(range(128, 256)), b"\xdb\xdb\xb0", b"\xf7\xb1", "간".encode("utf-16")])
def test_what_fits_nothing_is_not_guessed(raw: bytes) -> None:
    """Noise, box drawing, half a character."""
    assert decoded([raw]) is None


def test_plain_names_need_no_character_set() -> None:
    """Nor do none at all."""
    assert decoded([]) is None
    assert decoded([b"IM0001"]) is None
