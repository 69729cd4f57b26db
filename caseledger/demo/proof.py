"""The demo's last part: the trail, and what somebody sees who trusts public keys and nothing else."""

import base64
import io
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from caseledger.demo.client import Person
from caseledger.demo.stage import Ran, Stage, elsewhere, ran
from domain.errors import CaseLedgerError
from domain.ledger import bundle as bundles

WIDTH = 100
SIGNED = "opinion.signed.v1"


def trail_table(entries: list[dict[str, Any]]) -> list[str]:
    """The trail as lines of at most 100 characters: index, time of the commit, role, kind, and what it says."""
    lines = [f"{'index':>5} {'time UTC':8} {'role':11} {'what':30} says"]
    for each in entries:
        at = datetime.fromisoformat(each["committed_at"])
        said = ("REFUSED " if each["outcome"] == "refused" else "") + (each["summary"] or "")
        kind = each["kind"].removesuffix(".v1")
        line = f"{each['index']:>5} {at:%H:%M:%S} {each['role']:11} {kind:30} {said}".rstrip()
        lines.append(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…")
    return lines


def verified(bundle: bytes, keys: Path, folder: Path, name: str) -> Ran:
    """`caseledger verify` as a process that has a bundle, the public keys, and nothing else of ours."""
    (folder / name).write_bytes(bundle)
    (folder / "public-keys.txt").write_bytes(keys.read_bytes())
    return ran(("verify", name, "--keys", "public-keys.txt"), elsewhere(), folder)


def flipped(bundle: bytes) -> tuple[bytes, int]:
    """A copy in which one bit of one byte of the signed opinion's statement differs, and that entry's index."""
    content = bundles.read(bundle)
    for at, entry in enumerate(content.entries):
        envelope = msgspec.json.decode(entry)
        statement = bytearray(base64.b64decode(envelope["payload"]))
        if SIGNED.encode() not in statement:
            continue
        place = statement.index(b'"recorded_at":') + len(b'"recorded_at":') + 8
        statement[place] ^= 1
        altered = entry.replace(envelope["payload"].encode(), base64.b64encode(bytes(statement)))
        entries = [*content.entries[:at], altered, *content.entries[at + 1 :]]
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members[bundles.ENTRIES] = b"".join(each + b"\n" for each in entries)
        return bundles.write_members(members), content.proofs[at].index
    raise CaseLedgerError("the bundle holds no signed opinion")


def prove(
    auditor: Person, patient: Person, case: str, stage: Stage, keys: Path, folder: Path, tell: Callable[[str], None]
) -> None:
    """Export, verify, falsify, verify, replay.

    Raises:
        CaseLedgerError: one of them did not come out as it has to.
    """
    tell("# The bundle, verified by a process that has only the public keys")
    exported = auditor.get_bytes(f"/cases/{case}/bundle")
    good = verified(exported, keys, folder, "case.zip")
    _show(good, tell)
    _require(good.status == 0, "the exported bundle verifies", good)
    own = verified(patient.get_bytes(f"/cases/{case}/bundle"), keys, folder, "own.zip")
    _require(own.status == 0, "the patient's own bundle, with its content, verifies", own)
    tell("The patient's own bundle, which also opens the content of each entry, verifies as well.")

    tell("# One bit of the signed opinion is flipped in a copy")
    altered, index = flipped(exported)
    bad = verified(altered, keys, folder, "altered.zip")
    tell(f"= {bad.out.strip().splitlines()[-1]}")
    _require(bad.status == 1 and f"entry {index}" in bad.out, f"the verifier names entry {index}", bad)

    tell("# The log is folded anew, while the service runs, and compared with the live views")
    replayed = stage.command("replay", "--check")
    _show(replayed, tell)
    _require(replayed.status == 0, "the live views equal the log", replayed)


def _show(done: Ran, tell: Callable[[str], None]) -> None:
    for line in done.out.rstrip().splitlines():
        tell(f"= {line}")


def _require(held: bool, what: str, done: Ran) -> None:
    if not held:
        raise CaseLedgerError(
            f"this step did not hold: {what} (status {done.status}; {(done.err or done.out).strip()})"
        )
