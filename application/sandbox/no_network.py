"""A process that gives up the network for good, by the means that the system has; in the worker that decodes.

Two, each enough by itself. A network namespace of its own with nothing in it needs user namespaces, which many
containers and distributions do not allow. A seccomp filter needs none, and every container lets a process put one on
itself: every system call that makes a socket fails with EACCES, and so does io_uring, which makes sockets without one.
"""

import ctypes
import platform
import socket
import struct
import sys
from typing import Any, Final, Literal

_NEW_USER_AND_NETWORK: Final = 0x10000000 | 0x40000000
_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER, _FOR_ALL_THREADS = 1, 1
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_REFUSE: Final = 0x00050000 | 13  # SECCOMP_RET_ERRNO with EACCES
_KILL, _ALLOW = 0x80000000, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_X32: Final = 0x40000000
"""Bit of a number of the x32 calls, which reach the same functions under other numbers (x86-64 only)."""
_CLOSED: Final[dict[str, tuple[int, tuple[int, ...]]]] = {
    # AUDIT_ARCH_*, and: socket, connect, accept, sendto, sendmsg, bind, listen, socketpair, accept4, sendmmsg,
    # io_uring_setup, io_uring_enter, io_uring_register, pidfd_getfd (asm/unistd_64.h; asm-generic/unistd.h)
    "x86_64": (0xC000003E, (41, 42, 43, 44, 46, 49, 50, 53, 288, 307, 425, 426, 427, 438)),
    "aarch64": (0xC00000B7, (198, 203, 202, 206, 211, 200, 201, 199, 242, 269, 425, 426, 427, 438)),
}


Network = Literal["closed", "isolated", "open"]
"""Closed: there are no sockets. Isolated: there are, with nothing at their other end but sockets in the file system, of
which a database may have one. Open: nothing was given up."""


def give_up_network() -> None:
    """Do it by every means that there is. This process cannot undo it."""
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None, use_errno=True)
    # Without it an ordinary user may put on no filter; with it no program that this process starts gains anything.
    system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    system.unshare(_NEW_USER_AND_NETWORK)
    _filter(system, platform.machine())


def network() -> Network:
    """What this process can do with sockets, as it finds by trying; nothing is sent."""
    try:
        tried = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return "closed"
    with tried:
        try:
            tried.connect(("127.0.0.1", 9))
        except OSError:
            return "isolated"
    return "open"


class _Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter(system: Any, machine: str) -> None:
    if machine in _CLOSED:
        code = program(machine)
        loaded = _Program(len(code) // 8, code)
        system.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _FOR_ALL_THREADS, ctypes.byref(loaded))


def program(machine: str) -> bytes:
    """The filter as BPF: instructions of eight bytes (linux/filter.h: code, jump if true, jump if false, operand).

    A call under another architecture's numbers ends the process: no honest decoder makes one.
    """
    architecture, numbers = _CLOSED[machine]
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, len(numbers) + 1, 0, _X32),
    ]
    lines += [(_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)
