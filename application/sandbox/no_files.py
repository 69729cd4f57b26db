"""A process that gives up the files and the processes of others for good; in the worker that decodes.

Landlock (Linux 5.13; https://docs.kernel.org/userspace-api/landlock.html) needs no privilege: what this process opens
from then on lies beneath the directories that hold its own program, and is opened for reading. So a decoder that was
taken over reads no key file and no record, though both belong to the same user. From Linux 6.12 on it sends no signal
to a process outside either.
"""

import ctypes
import os
import struct
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_READ: Final = 1 << 2 | 1 << 3  # LANDLOCK_ACCESS_FS_READ_FILE, _READ_DIR
_ALL: Final = (1 << 13) - 1
_TRUNCATE: Final = 1 << 14
_SCOPES: Final = 1 | 2  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, _SIGNAL
_PR_SET_NO_NEW_PRIVS: Final = 38
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")

Files = Literal["closed", "open"]
"""Closed: nothing but the program itself can be opened."""


def give_up_files() -> None:
    """Keep to the program's own directories, where the system knows how. This process cannot undo it."""
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None, use_errno=True)
    version = system.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return
    handled = _ALL | (_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=QQQ", handled, 0, _SCOPES) if version >= 6 else struct.pack("=Q", handled)
    rules = system.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return
    try:
        for place in _program():
            _allow(system, rules, place)
        system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        system.syscall(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def files() -> Files:
    """What this process can open, as it finds by trying: the root directory is no part of the program."""
    try:
        os.close(os.open("/", os.O_RDONLY))
    except OSError:
        return "closed"
    return "open"


def _program() -> set[str]:
    """Directories of interpreter, packages and shared libraries. What is imported late is read from there."""
    ours = Path(__file__).resolve().parents[2]
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return {*places, *_LIBRARIES, str(ours / "application"), str(ours / "domain")}


def _allow(system: Any, rules: int, place: str) -> None:
    with suppress(OSError):  # not every system has each of them
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            # A file has no entries to be read.
            rights = _READ if Path(place).is_dir() else _READ & ~(1 << 3)
            system.syscall(_ADD, rules, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
        finally:
            os.close(descriptor)
