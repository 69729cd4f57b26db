import os
import re
import stat
from pathlib import Path

import pytest

from application.ledger import keyfiles
from domain.errors import Misconfigured
from tests.ledger_fixture import in_threads

NAMES = ("kek", "entry", "checkpoint", "token", "preparation")


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_made_once_and_private(tmp_path: Path, umask: int) -> None:
    """New keys are private under any umask, all different, and read back the same."""
    data = tmp_path / "data"
    before = os.umask(umask)
    try:
        made = keyfiles.load(data)
    finally:
        os.umask(before)
    assert mode(data / "keys") == 0o700
    assert {mode(data / "keys" / name) for name in NAMES} | {mode(data / "origin")} == {0o600}
    assert len({(data / "keys" / name).read_bytes() for name in NAMES}) == len(NAMES)
    assert sorted(path.name for path in data.iterdir()) == ["keys", "origin"]
    again = keyfiles.load(data)
    assert (again.origin, again.kek, again.preparation) == (made.origin, made.kek, made.preparation)
    for name in ("entry", "checkpoint", "token"):
        assert keyfiles.raw_public(getattr(again, name)) == keyfiles.raw_public(getattr(made, name))
    assert re.fullmatch(r"caseledger\.invalid/[a-z2-7]{24}", made.origin)
    assert made.checkpoint_verifier().name == made.origin
    assert made.entry_verifier().public_key != made.checkpoint_verifier().public_key


def test_two_directories_are_two_ledgers(tmp_path: Path) -> None:
    """Every data directory has an origin of its own."""
    assert keyfiles.load(tmp_path / "a").origin != keyfiles.load(tmp_path / "b").origin


def test_two_processes_make_one_ledger(tmp_path: Path) -> None:
    """Whoever starts first makes the keys; the others read them."""
    found = in_threads(8, lambda _: keyfiles.load(tmp_path / "data").origin)
    assert len(set(found)) == 1


def test_crash_while_making(tmp_path: Path) -> None:
    """Keys that were half made when the process died are made anew; made in full, they take their place."""
    (tmp_path / "keys.new").mkdir()
    (tmp_path / "keys.new" / "kek").write_bytes(b"half")
    made = keyfiles.load(tmp_path)
    assert not (tmp_path / "keys.new").exists()
    (tmp_path / "origin").rename(tmp_path / "keys" / "origin")
    assert keyfiles.load(tmp_path).origin == made.origin


@pytest.mark.parametrize("name", [*(f"keys/{name}" for name in NAMES), "origin"])
def test_lost_file(tmp_path: Path, name: str) -> None:
    """A file that is gone is named, and never made again."""
    keyfiles.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(Misconfigured, match=Path(name).name):
        keyfiles.load(tmp_path)
    assert not (tmp_path / name).exists()


def test_lost_directory(tmp_path: Path) -> None:
    """Where the origin is left but no key is, nothing is made."""
    keyfiles.load(tmp_path)
    (tmp_path / "keys").rename(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured, match="kek, entry"):
        keyfiles.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "bad"), [("keys/kek", 0o640), ("keys/entry", 0o604), ("keys", 0o710), ("keys", 0o777)]
)
def test_open_to_others(tmp_path: Path, name: str, bad: int) -> None:
    """A key file, or their directory, that others could open is refused."""
    keyfiles.load(tmp_path)
    (tmp_path / name).chmod(bad)
    with pytest.raises(Misconfigured, match="open to others"):
        keyfiles.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"1" * 31, b"1" * 33])
def test_wrong_length(tmp_path: Path, content: bytes) -> None:
    """A key file of another length is refused."""
    keyfiles.load(tmp_path)
    (tmp_path / "keys" / "kek").write_bytes(content)
    with pytest.raises(Misconfigured, match="kek"):
        keyfiles.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"https://a\n", b"a\nb\n", "ä".encode(), b"a" * 201])
def test_origin_that_is_none(tmp_path: Path, content: bytes) -> None:
    """A file that does not hold an origin is refused."""
    keyfiles.load(tmp_path)
    (tmp_path / "origin").write_bytes(content)
    with pytest.raises(Misconfigured, match="origin"):
        keyfiles.load(tmp_path)


def test_private_file_is_written_once(tmp_path: Path) -> None:
    """A private file is never overwritten, and not through a link."""
    keyfiles.write_private(tmp_path / "a", b"1")
    (tmp_path / "b").symlink_to(tmp_path / "c")
    for name in ("a", "b"):
        with pytest.raises(FileExistsError):
            keyfiles.write_private(tmp_path / name, b"2")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert not (tmp_path / "c").exists()
