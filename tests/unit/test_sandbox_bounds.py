"""The worker that decodes hostile content has no sockets, with or without namespaces, and opens no file of others."""

import ctypes
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from application.sandbox import no_network
from application.sandbox.bounds import Bounds
from application.sandbox.sandbox import Sandbox

ROOT = Path(no_network.__file__).resolve().parents[2]

TRY = """
import ctypes, errno, socket, sys
sys.path.insert(0, sys.argv[1])
from application.sandbox import no_network
if sys.argv[2] == "no namespaces":
    no_network._NEW_USER_AND_NETWORK = -1  # as where an ordinary user may have none: unshare fails
no_network.give_up_network()
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, getattr(socket, "AF_NETLINK", socket.AF_UNIX)):
    try:
        socket.socket(family)
    except OSError as error:
        assert error.errno == errno.EACCES, error
    else:
        sys.exit(f"{family!r} is open")
try:
    socket.socketpair()
    sys.exit("a pair")
except OSError:
    pass
call = ctypes.CDLL(None, use_errno=True).syscall
for number in (425, 0x40000000 | 41):
    assert call(number, 2, 1, 0) == -1, number
assert open(sys.argv[1] + "/pyproject.toml").read(1)
print(no_network.network())
"""

LANDLOCK = sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) > 0
linux = pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")


@linux
@pytest.mark.parametrize("how", ["all means", "no namespaces"])
def test_no_socket_can_be_made(how: str) -> None:
    """Of no family, by no other call, and no more under the numbers of another calling convention; files go on."""
    ended = subprocess.run(
        [sys.executable, "-I", "-c", TRY, str(ROOT), how], capture_output=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, b"closed\n"), ended.stderr


@linux
def test_a_worker_says_what_it_could_reach() -> None:
    """By trying, in bounds, as it decodes."""
    assert Sandbox().bounds() == Bounds(network="closed", files="closed" if LANDLOCK else "open")


def test_the_same_process_without_bounds_has_one() -> None:
    """What is tried can be told apart: here, where nothing was given up."""
    assert no_network.network() == "open"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_jump_of_the_filter_lands_on_its_end(machine: str) -> None:
    """Each number that is closed leads to the refusal, the last instruction; all others to the one before."""
    code = no_network.program(machine)
    lines = [code[at : at + 8] for at in range(0, len(code), 8)]
    for number in (*no_network._CLOSED[machine][1], 0x40000000, 0x40000029):
        assert _runs(lines, no_network._CLOSED[machine][0], number) == no_network._REFUSE
    for number in (0, 1, 3, 9, 60):
        assert _runs(lines, no_network._CLOSED[machine][0], number) == no_network._ALLOW
    assert _runs(lines, 0x40000003, 102) == no_network._KILL


def _runs(lines: list[bytes], architecture: int, number: int) -> int:
    """What the filter answers, by a machine that knows its four instructions."""
    at, value = 0, 0
    while True:
        code, yes, no, operand = struct.unpack("HBBI", lines[at])
        match code:
            case 0x20:
                value = {0: number, 4: architecture}[operand]
            case 0x15:
                at += yes if value == operand else no
            case 0x35:
                at += yes if value >= operand else no
            case 0x06:
                return int(operand)
        at += 1


FILES = """
import os, sys
sys.path.insert(0, sys.argv[1])
from application.sandbox.worker import confine
secret = sys.argv[2]
assert open(secret).read() == "a key"
confine(2 * 2**30, 10)
for path in (secret, os.path.dirname(secret), "/", "/etc/passwd", f"/proc/{os.getppid()}/environ", sys.argv[1]):
    try:
        os.open(path, os.O_RDONLY)
    except PermissionError:
        continue
    sys.exit(path)
try:
    os.unlink(secret)
    sys.exit("unlinked")
except OSError:
    pass
import colorsys, numpy.random, pydicom.overlays  # what is imported late is read from the program itself
try:
    os.kill(os.getppid(), 0)
    print("signals")
except PermissionError:
    print("none")
"""


@pytest.mark.skipif(not LANDLOCK, reason="this system has no Landlock")
def test_a_worker_opens_nothing_but_its_own_program(tmp_path: Path) -> None:
    """No key file, no directory, no other process's memory or environment; nor does it signal the service."""
    secret = tmp_path / "key"
    secret.write_text("a key")
    ended = subprocess.run(
        [sys.executable, "-I", "-c", FILES, str(ROOT), str(secret)], capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    version = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)
    assert ended.stdout.strip() == (b"none" if version >= 6 else b"signals")
    assert secret.exists()
