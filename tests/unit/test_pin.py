import fcntl
import multiprocessing
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger.pin import Pin
from domain.errors import HeadForked, NoteSignatureInvalid
from domain.ledger.checkpoint import Checkpoint, sign
from domain.ledger.note import ED25519, VerifierKey
from tests.ledger_fixture import in_threads

ORIGIN = "caseledger.invalid/test"
SECRET = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
KEY = VerifierKey.make(ORIGIN, ED25519, SECRET.public_key().public_bytes_raw())


def checkpoint(size: int, fill: int = 1) -> Checkpoint:
    """A checkpoint of that size, its root all one byte."""
    return Checkpoint(ORIGIN, size, bytes([fill]) * 32)


def note(size: int, fill: int = 1, secret: Ed25519PrivateKey = SECRET) -> bytes:
    """It, signed."""
    return sign(checkpoint(size, fill), secret, 0)


def advance(path: str, sizes: list[int]) -> None:
    """Pin sizes in order (a spawned process's target)."""
    pin = Pin(Path(path), KEY)
    for size in sizes:
        pin.advance(note(size))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the pin stands."""
    return tmp_path / "pin"


@pytest.fixture
def pin(path: Path) -> Pin:
    """A pin that is not there yet."""
    return Pin(path, KEY)


def test_newest_stays(pin: Pin, path: Path) -> None:
    """The pin moves forward only; the file is private and does not grow."""
    assert pin.read() is None
    for size, pinned in ((1, 1), (2, 2), (5, 5), (3, 5), (5, 5), (6, 6)):
        pin.advance(note(size))
        assert pin.read() == checkpoint(pinned)
        assert path.stat().st_size == 8192
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Pin(path, KEY).read() == checkpoint(6)


def test_two_roots_of_one_size(pin: Pin) -> None:
    """Another root at the pinned size is a fork, and changes nothing."""
    pin.advance(note(4))
    with pytest.raises(HeadForked):
        pin.advance(note(4, fill=2))
    assert pin.read() == checkpoint(4)


@pytest.mark.parametrize("torn", [0, 1, 100, 4095])
def test_write_that_a_crash_cuts_off(pin: Pin, path: Path, torn: int) -> None:
    """A write that is cut off leaves the checkpoint before it, and the next write takes the spoilt place."""
    for size in (1, 2, 3):
        pin.advance(note(size))
    content = bytearray(path.read_bytes())
    # 3 stands in the first slot; what would replace it is 2 in the second.
    content[4096 : 4096 + torn] = note(4).ljust(4096, b"\n")[:torn]
    content[4096 + torn : 8192] = b"\xff" * (4096 - torn)
    path.write_bytes(content)
    assert pin.read() == checkpoint(3)
    pin.advance(note(5))
    assert pin.read() == checkpoint(5)
    assert path.read_bytes().startswith(note(3))


def test_file_that_is_no_pin(pin: Pin, path: Path) -> None:
    """Garbage, and a checkpoint of another key, are no pin; an empty file, as a crash leaves it, is a new one."""
    other = note(1, secret=Ed25519PrivateKey.from_private_bytes(b"\10" * 32))
    for content in (b"garbage", other, bytes(8191) + b"\1"):
        path.write_bytes(content)
        with pytest.raises(NoteSignatureInvalid):
            pin.read()
        with pytest.raises(NoteSignatureInvalid):
            pin.advance(note(9))
    with pytest.raises(NoteSignatureInvalid):
        pin.advance(other)
    for content in (b"", bytes(8192)):
        path.write_bytes(content)
        assert pin.read() is None
    pin.advance(note(1))
    assert pin.read() == checkpoint(1)


def test_one_writer_at_a_time(pin: Pin, path: Path) -> None:
    """Whoever advances waits for the one that does; so does a reader."""
    pin.advance(note(1))
    with path.open("rb+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = [threading.Thread(target=pin.advance, args=(note(2),)), threading.Thread(target=pin.read)]
        for thread in waiting:
            thread.start()
            thread.join(0.1)
        assert all(thread.is_alive() for thread in waiting)
        fcntl.flock(other, fcntl.LOCK_UN)
        for thread in waiting:
            thread.join(10)
    assert pin.read() == checkpoint(2)


def test_file_that_is_put_in_its_place(pin: Pin, path: Path) -> None:
    """The file of that name is the pin, though the one that was there before is still open."""
    pin.advance(note(1))
    copy = path.with_suffix(".copy")
    copy.write_bytes(note(3).ljust(8192, b"\n"))
    copy.rename(path)
    pin.advance(note(2))
    assert pin.read() == checkpoint(3)
    pin.advance(note(4))
    assert Pin(path, KEY).read() == checkpoint(4)


def test_file_that_was_moved_away_is_not_written(pin: Pin, path: Path) -> None:
    """A pin that somebody set aside while it was in use is not it any more; what is released is pinned in its place."""
    pin.advance(note(3))
    path.rename(path.with_name("aside"))
    pin.advance(note(4))
    assert Pin(path, KEY).read() == checkpoint(4)
    assert Pin(path.with_name("aside"), KEY).read() == checkpoint(3)


def test_open_file_goes_with_its_pin(path: Path) -> None:
    """A pin that nobody holds any more leaves no open file behind."""
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    for size in range(1, 20):
        Pin(path, KEY).advance(note(size))
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_files


def test_threads_and_processes_share_it(pin: Pin, path: Path) -> None:
    """Whoever advances, in whatever order and process, the largest checkpoint stays; readers always see one."""
    spawn = multiprocessing.get_context("spawn")
    sizes = list(range(1, 121))
    parts = [sizes[0::3], sizes[1::3]]
    processes = [spawn.Process(target=advance, args=(str(path), part)) for part in parts]
    for process in processes:
        process.start()

    def work(number: int) -> None:
        for size in sizes[2::3]:
            pin.advance(note(size))
            seen = pin.read()
            assert seen is not None
            assert seen.size >= size

    assert in_threads(2, work) == [None, None]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert pin.read() == checkpoint(120)
