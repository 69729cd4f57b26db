"""`caseledger demo`: one invented case through a real service, over HTTP; status 0 only when every step held."""

import os
import signal
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from caseledger.demo import texts
from caseledger.demo.client import TIMEOUT_S, Person
from caseledger.demo.proof import prove, trail_table
from caseledger.demo.stage import Stage, scratch, served
from caseledger.demo.story import Cast, Story
from domain.errors import CaseLedgerError, Misconfigured
from domain.ledger.verify_trust import TrustedKeys, parse_trusted_keys

WIDTH = 100
_AS_IT_IS: Any = {"break_on_hyphens": False, "replace_whitespace": False, "drop_whitespace": False}
INTRODUCTION = (
    "Everybody in this story is invented, and so is what they say; the images are real DICOM files from the test data"
    " of the pydicom package. Nothing here is medical advice. Each acknowledged write is proven to this client, which"
    " trusts two public keys and nothing else."
)


def run(data: Path | None, *, keep: bool = False) -> int:
    """Play the case on a temporary data directory, or on a given one that is then kept.

    Raises:
        CaseLedgerError: the first step that did not hold.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        # Without this, who ends the demo would leave its service running.
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _ended))
        # The surgeon's machine, and the auditor's: neither is where the service runs.
        hers = stack.enter_context(scratch("caseledger-surgeon-"))
        auditor = stack.enter_context(scratch("caseledger-auditor-"))
        folder = _given(data) if data is not None else stack.enter_context(scratch("caseledger-demo-", keep=keep))
        kept = data is not None or keep
        _tell(INTRODUCTION)
        _tell(f"Data directory: {folder} ({'kept' if kept else 'removed at the end; --keep keeps it'})")
        stage = stack.enter_context(served(folder))
        _tell(f"`caseledger serve` answers at {stage.url}, {time.monotonic() - started:.1f} s after the start")
        writes = _play(stage, hers, auditor)
    _tell(f"# Every step held: {writes} entries proven on receipt, {time.monotonic() - started:.0f} s in all")
    if kept:
        _tell(f"The ledger is in {folder}: look at it with CASELEDGER_DATA={folder} and `caseledger serve`")
    return 0


def _play(stage: Stage, hers: Path, auditor: Path) -> int:
    keys_file = auditor / "published-keys.txt"
    keys_file.write_text(_said(stage, "keys"), "utf-8")
    keys = parse_trusted_keys(keys_file.read_bytes())
    with httpx.Client(base_url=stage.url, timeout=TIMEOUT_S, trust_env=False) as http:
        cast = Cast(**{_field(each): _person(each, stage, http, keys) for each in texts.CAST})
        story = Story(cast, stage, keys.origin, hers, _tell)
        story.play()
        _tell("# The trail, as the coordinator sees it")
        trail = cast.coordinator.get(f"/cases/{story.case}/trail")
        for line in trail_table(trail["entries"]):
            print(line)
        prove(cast.compliance, cast.patient, story.case, stage, keys_file, auditor, _tell)
        people = [getattr(cast, name) for name in cast.__struct_fields__]
    return sum(each.proofs for each in people)


def _person(role: texts.Role, stage: Stage, http: httpx.Client, keys: TrustedKeys) -> Person:
    token = _said(stage, "token", "--role", role.role, "--subject", role.subject).strip()
    return Person(role.name, role.subject, http, token, keys)


def _field(role: texts.Role) -> str:
    return "surgeon" if role.role == "specialist" else role.role


def _said(stage: Stage, *words: str) -> str:
    done = stage.command(*words)
    if done.status != 0:
        raise CaseLedgerError(f"`caseledger {words[0]}` failed: {done.err.strip()}")
    return done.out


def _given(data: Path) -> Path:
    """A directory that the caller named, new or empty: the story is that of a new ledger."""
    folder = data.expanduser().resolve()
    try:
        folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Misconfigured(f"{folder} is not empty; the demo wants a data directory of its own")
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be used: {error.strerror}") from None
    return folder


def _tell(line: str) -> None:
    """One step: `#` a chapter, `!` a refusal that had to come, `=` what a command printed."""
    mark, text = (line[0], line[2:]) if line[:2] in ("# ", "! ", "= ") else ("", line)
    match mark:
        case "#":
            print(f"\n{text}\n{'-' * min(len(text), WIDTH)}")
        case "=":
            lines = textwrap.wrap(text, WIDTH, initial_indent="  | ", subsequent_indent="  |     ", **_AS_IT_IS)
            print("\n".join(line.rstrip() for line in lines) or "  |")
        case _:
            first = "  x " if mark == "!" else "  - "
            print(textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent="    ", break_on_hyphens=False))


def _ended(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
