import os
import re
import stat
from pathlib import Path

import pytest

from application.ledger import keyfiles, keylock, origin_files
from application.ledger.key_rotation import make_next, put_in_place
from application.ledger.origin_files import PURPOSES
from application.witness import post_quantum
from domain.errors import Misconfigured
from domain.ledger.keys import key_id
from domain.ledger.note import VerifierKey
from domain.ledger.verify_trust import parse_trusted_keys, render_trusted_keys
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


# With a passphrase


def passphrase_file(tmp_path: Path, passphrase: bytes = b"correct horse battery", bits: int = 0o600) -> Path:
    """A private file that holds a passphrase and a line feed."""
    path = tmp_path / f"passphrase-{len(list(tmp_path.iterdir()))}"
    keyfiles.write_private(path, passphrase + b"\n")
    path.chmod(bits)
    return path


def secrets_of(keys: keyfiles.KeyFiles) -> list[bytes]:
    """All that the files hold."""
    private = (keys.entry, keys.checkpoint, keys.token)
    return [keys.kek, keys.preparation, *(each.private_bytes_raw() for each in private)]


def test_locked_files_hold_no_secret(tmp_path: Path) -> None:
    """No key stands in its file; with the passphrase they read back the same, again and again."""
    data, box = tmp_path / "data", keylock.locker(passphrase_file(tmp_path))
    made = keyfiles.load(data, box)
    stored = {name: (data / "keys" / name).read_bytes() for name in NAMES}
    assert all(secret not in raw for secret in secrets_of(made) for raw in stored.values())
    assert all(keylock.is_locked(raw) for raw in stored.values())
    assert len({raw[-60:] for raw in stored.values()}) == len(NAMES)
    again = keyfiles.load(data, keylock.locker(passphrase_file(tmp_path)))
    assert secrets_of(again) == secrets_of(made) == secrets_of(made.again())
    assert {name: (data / "keys" / name).read_bytes() for name in NAMES} == stored


def test_plain_files_are_locked_when_a_passphrase_comes(tmp_path: Path) -> None:
    """Each whole or not at all, and private as before; without the passphrase they are closed from then on."""
    data = tmp_path / "data"
    made = keyfiles.load(data)
    locked = keyfiles.load(data, keylock.locker(passphrase_file(tmp_path)))
    assert secrets_of(locked) == secrets_of(made)
    assert all(keylock.is_locked((data / "keys" / name).read_bytes()) for name in NAMES)
    assert {mode(data / "keys" / name) for name in NAMES} == {0o600}
    with pytest.raises(Misconfigured, match="is locked: CASELEDGER_KEY_PASSPHRASE_FILE"):
        keyfiles.load(data)


def test_keys_of_origins_before_a_restore_are_locked_too(tmp_path: Path) -> None:
    """Every private half that lies there, whole or not at all; what is public stays as it is."""
    data, box, key = tmp_path / "data", keylock.locker(passphrase_file(tmp_path)), "0" * 32
    old = keyfiles.load(data)
    keys = data / "origins" / "0001-old" / "keys"
    keys.mkdir(mode=0o700, parents=True)
    (keys.parent / "public-keys").write_bytes(render_trusted_keys(old.trusted()))
    public, private = f"entry.public.{key}", [*PURPOSES, f"entry.next.{key}", f"checkpoint.old.{key}"]
    for name in (public, *private, post_quantum.FILE):
        purpose = name.partition(".")[0]
        keyfiles.write_private(
            keys / name, (data / "keys" / purpose).read_bytes() if purpose in PURPOSES else bytes(32)
        )
    keyfiles.load(data, box)
    stored = {path.name: path.read_bytes() for path in keys.iterdir()}
    assert {name for name, raw in stored.items() if keylock.is_locked(raw)} == {*private, post_quantum.FILE}
    assert {mode(path) for path in keys.iterdir()} == {0o600}
    # In one process and in the next: they open, and are not locked over again.
    keyfiles.load(data, box)
    again = keylock.locker(passphrase_file(tmp_path))
    keyfiles.load(data, again)
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == stored
    (log,) = origin_files.earlier(data, again)
    assert log.private is not None
    assert [each.private_bytes_raw() for each in log.private] == [
        each.private_bytes_raw() for each in (old.checkpoint, old.entry)
    ]
    assert post_quantum.read_seed(keys / post_quantum.FILE, again) == bytes(32)


def test_another_passphrase_or_another_keys_file_does_not_open(tmp_path: Path) -> None:
    """A file opens with its passphrase and under its own name only."""
    data, box = tmp_path / "data", keylock.locker(passphrase_file(tmp_path))
    keyfiles.load(data, box)
    with pytest.raises(Misconfigured, match="does not open with this passphrase"):
        keyfiles.load(data, keylock.locker(passphrase_file(tmp_path, b"another passphrase")))
    (data / "keys" / "kek").write_bytes((data / "keys" / "preparation").read_bytes())
    with pytest.raises(Misconfigured, match="kek"):
        keyfiles.load(data, box)


def test_no_bit_of_a_locked_file_can_be_turned(tmp_path: Path) -> None:
    """Parameters, salt, nonce and secret are all under the seal; costs that would stall a start are refused unasked."""
    box = keylock.Passphrase(b"correct horse battery")
    stored = box.lock("kek", bytes(32))
    assert box.unlock("kek", stored) == bytes(32)
    salt, nonce = 26, 42
    for at in (23, 24, 25, salt, nonce, nonce + 12, len(stored) - 1):
        turned = bytearray(stored)
        turned[at] ^= 0x01 if at >= salt else 0xC0
        with pytest.raises(Misconfigured):
            box.unlock("kek", bytes(turned))
    for cut in (23, 25, 30, 45, len(stored) - 1):
        with pytest.raises(Misconfigured):
            box.unlock("kek", stored[:cut])
    with pytest.raises(Misconfigured):
        keylock.PLAIN.unlock("kek", stored)


@pytest.mark.parametrize(("passphrase", "bits"), [(b"short", 0o600), (b"x" * 1025, 0o600), (b"long enough", 0o640)])
def test_a_passphrase_that_is_none(tmp_path: Path, passphrase: bytes, bits: int) -> None:
    """Too short, too long, or open to others: it is refused, and not quoted."""
    with pytest.raises(Misconfigured) as refused:
        keylock.locker(passphrase_file(tmp_path, passphrase, bits))
    assert passphrase.decode() not in str(refused.value)
    with pytest.raises(Misconfigured, match="cannot be read"):
        keylock.locker(tmp_path / "none")


def test_the_next_key_is_made_once_and_put_in_place(tmp_path: Path) -> None:
    """Asked twice it is the same; in place, the old public half stays, and only a checkpoint key's private one."""
    for box in (keylock.PLAIN, keylock.locker(passphrase_file(tmp_path))):
        data = tmp_path / f"data-{box is keylock.PLAIN}"
        for purpose in ("entry", "checkpoint"):
            before = keyfiles.load(data, box)
            made = make_next(before, purpose)
            assert make_next(before.again(), purpose) == made
            assert secrets_of(before.again()) == secrets_of(before)
            key = key_id(VerifierKey.parse(made.vkey).public_key)
            after = put_in_place(before.again(), purpose, key)
            assert made.replaces == key_id(keyfiles.raw_public(getattr(before, purpose)))
            assert key == key_id(keyfiles.raw_public(getattr(after, purpose)))
            assert after.earlier[purpose, made.replaces] == keyfiles.raw_public(getattr(before, purpose))
            assert ((purpose, made.replaces) in after.old) is (purpose == "checkpoint")
            assert not after.next
            assert secrets_of(put_in_place(before, purpose, key)) == secrets_of(after)
            with pytest.raises(Misconfigured, match="does not hold it"):
                put_in_place(after, purpose, "0" * 32)
        trusted = keyfiles.load(data, box).trusted()
        assert (len(trusted.entries), len(trusted.checkpoint)) == (2, 2)
        assert parse_trusted_keys(render_trusted_keys(trusted)) == trusted
