"""Archives as CDs from abroad are, and as somebody who means harm makes them."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from obstore.store import LocalStore
from psycopg_pool import ConnectionPool

from application.records.archives import DIRECTORY_BYTES, opened
from application.records.intake import Intake
from application.records.resumable import PartStatus, Resumable
from application.records.vault import Vault
from domain.archive import MEMBERS, checked_path
from domain.errors import MalformedArchive, SuspectedBomb, TooLarge, UnsafePath
from domain.records import RecordKind
from tests.conftest import Database
from tests.integration.test_intake import SubjectKeys, objects, series

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the vault stands."""
    return tmp_path / "vault"


@pytest.fixture
def intake(database: Database, root: Path) -> Iterator[Intake]:
    """An intake on a real database."""
    with ConnectionPool[psycopg.Connection](database.service_url, min_size=1, max_size=4, open=True) as pool:
        yield Intake(pool, Vault(LocalStore(root, mkdir=True)), SubjectKeys())


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return whole.getvalue()


def sent(intake: Intake, whole: bytes, kind: RecordKind = RecordKind.IMAGING) -> tuple[str, PartStatus]:
    """The archive, sent as a part of a new upload."""
    upload = intake.open("case-1", "actor-1", kind)
    resumable = Resumable(intake, intake._vault, intake._sealer, segment_bytes=50_000)
    part = resumable.begin(upload, "archive", "cd.zip", None, None).part
    return upload, resumable.append(upload, part, 0, [whole], complete=True)


def codes(status: PartStatus) -> dict[str, str]:
    """What was refused, and why."""
    assert status.unpacked is not None
    return {each.name: each.code for each in status.unpacked.refused}


def patched(whole: bytes, name: bytes, at: int, value: bytes) -> bytes:
    """The archive with other bytes at an offset of a member's header in the central directory (APPNOTE.TXT 4.3.12)."""
    found = whole.rindex(name) - 46
    assert whole[found : found + 4] == b"PK\x01\x02"
    return whole[: found + at] + value + whole[found + at + len(value) :]


def test_a_cd_from_abroad_comes_in_whole(intake: Intake) -> None:
    """Every image is a file under its path; the directory is skipped without a word, everything else has its reason."""
    images = {f"DICOM/PA{number}/IM0": path.read_bytes() for number, path in enumerate(series())}
    huge = bytes(128) + b"DICM" + b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xfe"
    others = {
        "DICOMDIR": bytes(128) + b"DICM\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10",
        "second/DICOMDIR": b"",
        "gzip.dcm": gzip.compress(images["DICOM/PA0/IM0"]),
        "pointer.dcm": LFS,
        "AUTORUN.INF": b"[autorun]\nopen=viewer.exe\n",
        "empty.dcm": b"",
    }
    upload, status = sent(intake, zipped(images | others | {"claims 8.6 GB.dcm": huge}))
    assert codes(status) == {
        "gzip.dcm": "nested-archive",
        "pointer.dcm": "not-dicom",
        "AUTORUN.INF": "not-dicom",
        "empty.dcm": "not-dicom",
    }
    assert status.unpacked is not None
    assert (status.unpacked.taken, status.unpacked.skipped) == (8, 2)
    manifest = intake.finish(upload)[0].manifest
    assert {each.name for each in manifest.files} == {*images, "claims 8.6 GB.dcm"}
    assert sum(each.header is not None for each in manifest.files) >= 7


def test_names_survive_in_any_character_set(intake: Intake) -> None:
    """UTF-8 with or without the flag, and GB18030; a false flag is not believed."""
    image, names = series()[0].read_bytes(), []
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as packed:
        for name in ("صورة.dcm", "간_CT.dcm", "肝/IM1"):
            packed.writestr(name, image + b"\0" * len(names))
            names.append(name)
    plain = whole.getvalue()
    assert sent_names(intake, plain) == set(names)
    # The flag taken away from every header, local and central: the bytes are still UTF-8.
    bare = plain.replace(b"\x00\x08\x00\x00\x21", b"\x00\x00\x00\x00\x21")
    assert sent_names(intake, bare) == set(names)
    raw = "肝脏.dcm".encode("gb18030")
    foreign = zipped({"x" * len(raw): image}).replace(b"x" * len(raw), raw)
    assert sent_names(intake, foreign) == {"肝脏.dcm"}
    lying = patched(foreign, raw, 8, struct.pack("<H", 0x800))
    assert sent_names(intake, lying) == {"肝脏.dcm"}


def foreign(names: list[bytes]) -> bytes:
    """A zip whose members have these names, said to be in no character set."""
    image = series()[0].read_bytes()
    stand_ins = {f"{number:03}".ljust(len(name), "x"): name for number, name in enumerate(names)}
    whole = zipped({each: image + bytes([number]) for number, each in enumerate(stand_ins)})
    for stand_in, name in stand_ins.items():
        whole = whole.replace(stand_in.encode(), name)
    return whole


@pytest.mark.parametrize(
    ("charset", "names"),
    [
        ("cp1253", ["Παπαδόπουλος/ήπαρ.dcm", "Ασθενής/IM1"]),
        ("cp737", ["Παπαδόπουλος/ήπαρ.dcm", "Ασθενής/IM1"]),
        ("cp1251", ["Снимки/печень.dcm", "Иванов/снимки печени"]),
        ("cp866", ["Снимки\\печень.dcm", "Иванов\\снимки печени"]),
        ("gb18030", ["影像/肝脏.dcm", "检查报告/张伟"]),
        ("big5", ["影像/肝臟.dcm", "檢查報告/陳大文"]),
        ("cp932", ["画像/肝臓レポート", "検査/山田太郎の表"]),
        ("cp949", ["영상/간암 보고서", "환자/김철수"]),
        ("cp1256", ["تقرير الأشعة/صورة.dcm", "محمد أحمد/IM1"]),
        ("cp720", ["تقرير الأشعة/صورة.dcm", "محمد أحمد/IM1"]),
        ("cp437", ["Größe/Müller.dcm"]),
    ],
)
def test_names_from_before_utf_8_are_read_as_they_were_written(intake: Intake, charset: str, names: list[str]) -> None:
    """Greek, Russian, Chinese, Japanese, Korean and Arabic names come out right, and their bytes are kept as well."""
    upload, status = sent(intake, foreign([each.encode(charset) for each in names]))
    assert codes(status) == {}
    files = intake.finish(upload)[0].manifest.files
    assert {each.name: each.name_bytes for each in files} == {
        each.replace("\\", "/"): each.encode(charset).hex() for each in names
    }


def test_a_name_in_no_known_character_set_keeps_its_bytes(intake: Intake) -> None:
    """It is shown as code page 437, and whoever knows better can read it again."""
    raw = bytes([0xFE, 0x9C, 0xFF, 0xDB, 0xB0]) + b".dcm"
    upload, _ = sent(intake, foreign([raw]))
    (file,) = intake.finish(upload)[0].manifest.files
    assert file.name == raw.decode("cp437")
    assert file.name_bytes == raw.hex()


def test_info_zips_unicode_path_is_believed_where_it_is_of_this_name(intake: Intake) -> None:
    """The extra field gives the name, unless its checksum is of another one (APPNOTE.TXT 4.6.9)."""
    image = series()[0].read_bytes()
    for right in (True, False):
        raw = "肝臓.dcm".encode("cp932")
        info = zipfile.ZipInfo("x" * len(raw))
        text = "肝臓の画像.dcm".encode()
        checksum = zlib.crc32(raw) ^ (not right)
        info.extra = struct.pack("<HHBI", 0x7075, 5 + len(text), 1, checksum) + text
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as packed:
            packed.writestr(info, image)
        names = sent_names(intake, whole.getvalue().replace(b"x" * len(raw), raw))
        assert names == {"肝臓の画像.dcm" if right else "肝臓.dcm"}


def sent_names(intake: Intake, whole: bytes) -> set[str]:
    """Names of the files of the record that an archive becomes."""
    upload, status = sent(intake, whole)
    assert codes(status) == {}
    return {each.name for each in intake.finish(upload)[0].manifest.files}


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/etc/passwd", "C:\\a", "c:a", "\\\\server\\a", "..\\a", ".."])
def test_a_path_that_climbs_out_is_refused_by_name(intake: Intake, path: str) -> None:
    """The others of the archive are taken."""
    image = series()[0].read_bytes()
    _, status = sent(intake, zipped({"IM0": image, path: image}))
    assert list(codes(status).values()) == ["unsafe-path"]
    assert status.unpacked is not None
    assert status.unpacked.taken == 1
    with pytest.raises(UnsafePath):
        checked_path(path)


def test_archives_inside_archives_are_refused(intake: Intake) -> None:
    """By their content, whatever they are called."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a"))
    members = {
        "zip.pdf": zipped({"a": b"b"}),
        "gz": gzip.compress(b"x"),
        "tar": inner.getvalue(),
        "7z": b"7z\xbc\xaf\x27\x1c" + bytes(30),
        "rar": b"Rar!\x1a\x07\x01\0" + bytes(30),
        "xz": b"\xfd7zXZ\0" + bytes(30),
        "letter.txt": b"Dear colleague",
    }
    upload, status = sent(intake, zipped(members), RecordKind.OTHER)
    assert codes(status) == dict.fromkeys([name for name in members if name != "letter.txt"], "nested-archive")
    assert [each.name for each in intake.finish(upload)[0].manifest.files] == ["letter.txt"]


def test_members_that_do_not_unpack_have_their_reasons(intake: Intake, root: Path) -> None:
    """Encrypted, packed by an unbounded method, damaged, and longer or shorter than declared; the good one is taken."""
    good = series()[0].read_bytes()
    for name, at, value, code in (
        ("enc", 8, struct.pack("<H", 1), "encrypted-member"),
        ("bad", 10, struct.pack("<H", 14), "malformed-archive"),
        ("crc", 16, b"\0\0\0\0", "malformed-archive"),
        ("big", 24, struct.pack("<I", len(good) + 1), "malformed-archive"),
        ("cut", 24, struct.pack("<I", len(good) - 1), "malformed-archive"),
    ):
        whole = patched(zipped({"good": good, name: good}), name.encode(), at, value)
        upload, status = sent(intake, whole)
        assert codes(status) == {name: code}, name
        assert [each.name for each in intake.finish(upload)[0].manifest.files] == ["good"]
    kept = len(objects(root))
    assert kept == 10


def test_a_bomb_is_refused_at_its_declared_size(intake: Intake, root: Path) -> None:
    """A member of 4 GB zeros is never unpacked, nor are many that come to too much, nor one that lies about itself."""
    zeros = zipped({"zeros": bytes(200_000_000)})
    assert len(zeros) < 250_000
    with pytest.raises(SuspectedBomb):
        sent(intake, zeros)
    with pytest.raises(SuspectedBomb):
        sent(intake, patched(zipped({"z": b"x" * 100}), b"z", 24, struct.pack("<I", 0xFFFFFFF0)))
    # It says 100 bytes, and inflates to 200 million: no more than it said is ever asked for.
    _, status = sent(intake, patched(zeros, b"zeros", 24, struct.pack("<I", 100)), RecordKind.OTHER)
    assert codes(status) == {"zeros": "malformed-archive"}
    assert objects(root) == []


def test_an_archive_is_bounded_in_its_members_and_its_directory() -> None:
    """Too many entries, and a directory too large to be read, are refused before any is looked at."""
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as packed:
        for number in range(MEMBERS + 1):
            packed.writestr(str(number), b"")
    with pytest.raises(TooLarge), opened(Seekable(many.getvalue())):
        pass
    wide = io.BytesIO()
    with zipfile.ZipFile(wide, "w") as packed:
        for number in range(DIRECTORY_BYTES // 60_000 + 1):
            info = zipfile.ZipInfo(str(number))
            info.comment = bytes(60_000)
            packed.writestr(info, b"")
    with pytest.raises(TooLarge), opened(Seekable(wide.getvalue())):
        pass


@pytest.mark.parametrize("cut", [0, 1, 21, 100, -1, -30])
def test_an_archive_that_is_cut_is_malformed(cut: int) -> None:
    """Wherever it ends; and so is something else."""
    whole = zipped({"a": b"b" * 100})
    for content in (whole[:cut], zlib.compress(whole), bytes(100)):
        with pytest.raises(MalformedArchive), opened(Seekable(content)):
            pass


class Seekable(io.BytesIO, io.RawIOBase):  # type: ignore[misc]
    """Bytes as a raw file."""


def test_an_archive_of_many_files_is_read_while_it_comes_in(intake: Intake) -> None:
    """Six hundred images: progress can be read meanwhile, none is lost, and the record is one."""
    image, seen = series()[0].read_bytes(), []
    real = Vault.put

    def watched(self: Vault, *args: object, **more: object) -> object:
        if len(seen) % 100 == 0:
            files.append(intake.status(upload).files)
        seen.append(None)
        return real(self, *args, **more)  # type: ignore[arg-type]

    files: list[int] = []
    upload = intake.open("case-1", "actor-1", RecordKind.IMAGING)
    resumable = Resumable(intake, intake._vault, intake._sealer)
    part = resumable.begin(upload, "archive", "cd.zip", None, None).part
    whole = zipped({f"D/{number}": image + number.to_bytes(2, "big") for number in range(600)}, zipfile.ZIP_STORED)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Vault, "put", watched)
        status = resumable.append(upload, part, 0, [whole], complete=True)
    assert codes(status) == {}
    assert files == [0, 100, 200, 300, 400, 500]
    assert len(intake.finish(upload)[0].manifest.files) == 600
