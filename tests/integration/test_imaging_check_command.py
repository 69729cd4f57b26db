"""`caseledger imaging-check` on folders and archives, good, broken and hostile."""

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caseledger import imaging_archive, imaging_files
from caseledger.cli import main
from caseledger.imaging_check_command import MEMBERS
from domain.imaging.model import Instance

PACKAGED = Path(str(files("pydicom"))) / "data" / "test_files"
SLICES = PACKAGED / "dicomdirtests" / "98892001" / "CT5N"
ON = "2026-11-01"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five real slices in a folder below the folder, as a CD has them."""
    root = tmp_path / "cd"
    images = root / "DICOM" / "A"
    images.mkdir(parents=True)
    for path in sorted(SLICES.iterdir()):
        (images / path.name).write_bytes(path.read_bytes())
    return root


def zipped(folder: Path, to: Path) -> Path:
    """The folder as an archive."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return to


def asked(capsys: pytest.CaptureFixture[str], place: Path, site: str = "any") -> dict[str, Any]:
    """The JSON report, of a command that ended well."""
    status = main(["imaging-check", str(place), "--site", site, "--on", ON, "--json"])
    said = capsys.readouterr()
    assert (status, said.err) == (0, "")
    report: dict[str, Any] = msgspec.json.decode(said.out)
    return report


def reasons(report: dict[str, Any], code: str) -> str:
    """The sentences of one code."""
    return "\n".join(each["message"] for each in report["findings"] if each["code"] == code)


def test_the_json_has_exactly_these_members(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four members of a report, four of its files, eight of every finding, all of them text where they are of one."""
    report = asked(capsys, folder, "liver-ct")
    assert sorted(report) == ["files", "findings", "series", "verdict"]
    assert report["verdict"] == "inadequate"
    assert report["files"] == {"total": 5, "dicom": 5, "skipped": 0, "unreadable": 0}
    assert {"STALE", "COVERAGE_SHORT"} & {each["code"] for each in report["findings"]}
    for finding in report["findings"]:
        assert tuple(finding) == MEMBERS
        assert all(isinstance(value, str) for value in finding.values())
    assert report["series"][0]["slices"] == 5


def test_a_folder_and_its_zip_have_the_same_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How the files came makes no difference."""
    assert asked(capsys, folder) == asked(capsys, zipped(folder, tmp_path / "cd.zip"))


def test_people_get_a_report_that_fits_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdict first, the day that it holds for, and no control character of a header or name."""
    (folder / "x\x1b[31mred").write_bytes(b"no image")
    assert main(["imaging-check", str(folder), "--site", "any", "--on", ON]) == 0
    told = capsys.readouterr().out
    assert told.startswith("LIMITED  ")
    assert ON in told.splitlines()[0]
    assert "NOT_DICOM" in told
    assert "\x1b" not in told
    assert main(["imaging-check", str(folder), "--site", "pancreas-ct", "--on", ON]) == 0
    told = capsys.readouterr().out
    assert " d, limit" not in told
    assert " days, limit 28 days (NCCN pancreas protocol; Glant 2011)]" in told or " days, limit 28 days (" in told
    assert "()" not in told


@pytest.mark.parametrize(
    ("place", "more", "words"),
    [
        ("nowhere", ["--site", "any"], "no folder or file"),
        ("cd", ["--site", "knee"], "liver-ct, liver-mr"),
        ("cd", ["--site", "any", "--on", "yesterday"], "--on is a day"),
        ("cd", ["--site", "any", "--on", "2026-02-30"], "--on is a day"),
        ("text", ["--site", "any"], "neither a folder nor a zip"),
        ("cut.zip", ["--site", "any"], "zip archive"),
    ],
)
def test_what_cannot_run_ends_with_two_and_one_line(
    place: str, more: list[str], words: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No verdict is made up; the line says what to mend."""
    (tmp_path / "text").write_text("hello")
    whole = zipped(folder, tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    assert main(["imaging-check", str(tmp_path / place), *more]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert words in said.err


def test_an_empty_folder_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to see is a verdict, too."""
    report = asked(capsys, tmp_path)
    assert (report["verdict"], report["files"]["total"]) == ("inadequate", 0)


def test_nothing_is_followed_out_of_the_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Links, loops, pipes: left out, with a reason where something could be missing, and nothing waits for them."""
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "IM1").write_bytes(next(SLICES.iterdir()).read_bytes())
    (folder / "out").symlink_to(outside)
    (folder / "gone").symlink_to(folder / "nothing")
    (folder / "loop").symlink_to(folder)
    (folder / "again").symlink_to(folder / "DICOM" / "A")
    os.mkfifo(folder / "pipe")
    report = asked(capsys, folder)
    assert report["files"] == {"total": 8, "dicom": 5, "skipped": 3, "unreadable": 0}
    told = reasons(report, "NOT_DICOM")
    assert f"2 files sent as imaging cannot be used ({imaging_files.LINK})" in told
    assert imaging_files.SPECIAL in told


def test_hostile_and_broken_files_have_their_own_reasons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is named for what it is, and the five good slices are judged as if they had come alone."""
    good = next(SLICES.iterdir()).read_bytes()
    nested = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100_000
    claims = good[: good.index(b"\xe0\x7f\x10\x00")] + b"\xe0\x7f\x10\x00OW\x00\x00" + struct.pack("<I", 0xFFFFFFF0)
    for name, content in {
        "deep.dcm": b"\0" * 128 + b"DICM" + nested,
        "huge.dcm": claims,
        "packed.dcm": gzip.compress(good),
        "pointer.dcm": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "letter.pdf": b"%PDF-1.7\n",
        "empty": b"",
        "inner.zip": zip_of({"a": good}),
    }.items():
        (folder / name).write_bytes(content)
    alone = asked(capsys, SLICES)
    report = asked(capsys, folder)
    assert report["files"]["dicom"] == 5
    assert report["files"]["total"] == 12
    assert report["files"]["unreadable"] == 2
    for word in ("gzip", "LFS", "PDF", "empty", "ZIP"):
        assert word in reasons(report, "NOT_DICOM"), word
    assert "nested too deeply" in reasons(report, "UNREADABLE")
    assert [each for each in report["series"] if each["role"] == "stack"] == alone["series"]


def test_a_hostile_archive_is_refused_member_by_member(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bomb by its declared size, a path that climbs by its name, encryption, a link; the rest is read."""
    place = zipped(folder, tmp_path / "cd.zip")
    with zipfile.ZipFile(place, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/cron.d/x", b"boo")
        archive.writestr("/absolute", b"boo")
        archive.writestr("C:\\drive", b"boo")
        archive.writestr("inner.zip", zip_of({"a": b"b"}))
        with archive.open("bomb.dcm", "w", force_zip64=True) as bomb:
            for _ in range(80):
                bomb.write(bytes(1024 * 1024))
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret.dcm", b"boo")
    raw = bytearray(place.read_bytes())
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"secret.dcm"))
    raw[at + 8] |= 1
    place.write_bytes(raw)
    report = asked(capsys, place)
    assert report["files"] == {"total": 12, "dicom": 5, "skipped": 1, "unreadable": 6}
    told = reasons(report, "UNREADABLE")
    for words in ("../../etc/cron.d/x", "/absolute", "C:\\drive", "83886080 bytes", "encrypted", "it is a link"):
        assert words in told, words


def test_a_damaged_member_is_the_only_one_lost(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flipped byte is caught by the archive's checksum."""
    place = zipped(folder, tmp_path / "cd.zip")
    raw = bytearray(place.read_bytes())
    with zipfile.ZipFile(place) as archive:
        last = [each for each in archive.infolist() if not each.is_dir()][-1]
    raw[last.header_offset + 30 + len(last.filename) + last.compress_size // 2] ^= 0xFF
    place.write_bytes(raw)
    report = asked(capsys, place)
    assert (report["files"]["dicom"], report["files"]["unreadable"]) == (4, 1)
    assert "damaged" in reasons(report, "UNREADABLE")


def test_one_kernel_under_many_names_is_unpacked_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An archive whose members share their packed bytes cannot grow without bound."""
    kernel = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = kernel.compress(bytes(1 << 20)) + kernel.flush()
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, zlib.crc32(bytes(1 << 20)), len(packed), 1 << 20, 1, 0)
    entries = b"".join(
        struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, zlib.crc32(bytes(1 << 20)), len(packed), 1 << 20,
            1, 0, 0, 0, 0, 0, 0,
        ) + b"a"
        for _ in range(50)
    )  # fmt: skip
    body = local + b"a" + packed
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 50, 50, len(entries), len(body), 0)
    place = tmp_path / "bomb.zip"
    place.write_bytes(body + entries + end)
    report = asked(capsys, place)
    assert report["files"]["unreadable"] == 49
    assert "shares its bytes" in reasons(report, "UNREADABLE")


def test_a_directory_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    """Its length is looked at first."""
    place = tmp_path / "wide.zip"
    place.write_bytes(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, imaging_archive.MOST_DIRECTORY + 1, 0, 0))
    assert main(["imaging-check", str(place), "--site", "any"]) == 2


def test_two_processes_read_what_one_reads(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many files are shared out, and come back the same, from a folder and from an archive."""
    place = zipped(folder, tmp_path / "cd.zip")
    one = [imaging_files.instances_of(folder), imaging_files.instances_of(place)]
    monkeypatch.setattr(imaging_files, "WORTH_A_POOL", 1)
    monkeypatch.setattr(imaging_files, "_BATCH", 2)
    assert [imaging_files.instances_of(folder), imaging_files.instances_of(place)] == one


@pytest.mark.skipif(sys.platform != "linux", reason="the readers are forked, and so see the patched function, on Linux")
def test_a_file_that_kills_its_reader_is_one_unreadable_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are read all the same."""
    (folder / "evil").write_bytes(b"\0" * 128 + b"DICM")
    read = imaging_files._read_one

    def deadly(item: Any, *given: Any) -> Instance:
        if item == "evil":
            os._exit(9)
        return read(item, *given)

    monkeypatch.setattr(imaging_files, "WORTH_A_POOL", 1)
    monkeypatch.setattr(imaging_files, "_BATCH", 2)
    monkeypatch.setattr(imaging_files, "_read_one", deadly)
    found = {each.name: each for each in imaging_files.instances_of(folder)}
    assert len(found) == 6
    assert found.pop("evil").reason == "reading it ended the reader"
    assert all(each.header is not None for each in found.values())


def test_it_needs_no_database_and_loads_no_driver(folder: Path) -> None:
    """It runs where nothing of the service is set up, with settings that would not start it."""
    program = (
        "import sys; from caseledger.cli import main; status = main(sys.argv[1:]);"
        "sys.exit(status or bool({'psycopg', 'litestar', 'procrastinate', 'eventsourcing'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "imaging-check", str(folder), "--site", "any", "--json"],
        env={"PATH": "/usr/bin:/bin", "CASELEDGER_DATABASE_URL": "nonsense", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_file_of_pydicoms_package_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    """All of its test files, broken ones among them, in one batch."""
    count = sum(1 for path in (PACKAGED.parent).rglob("*") if path.is_file())
    report = asked(capsys, PACKAGED.parent)
    assert report["files"]["total"] == count
    with capsys.disabled():
        sys.stdout.write(f"\n{count} files of pydicom's package: {report['files']}\n")


def zip_of(members: dict[str, bytes]) -> bytes:
    """An archive in memory."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()
