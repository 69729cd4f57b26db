"""`caseledger import`: brings the open cases of another system into the ledger; docs/import.md has the file's format.

Works while `serve` runs, whose views then show the cases; without it they do so when it starts.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec
from uuid_utils import uuid7

from api.bodies import decode_body
from api.problems import Told
from application.importing import source as sources
from application.importing.checking import Checked, check
from application.importing.importing import Imported, Importing
from application.importing.known import Known
from application.importing.line import CaseLine
from application.importing.source import Source
from application.ledger.bulk import Bulk
from application.request import Request
from application.service import Service
from caseledger import composition
from caseledger.settings import Settings
from domain.errors import InvalidInput
from domain.values import Identifier

Tell = Callable[[str], None]


class Summary(Imported, kw_only=True):
    """What the command prints: what it added, and the log's newest checkpoint after that."""

    checkpoint: str


def run(
    settings: Settings,
    file: Path,
    actor: str,
    *,
    allow_likely: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Check a whole file, then import what is new of it; prints one line of JSON, and progress to standard error.

    Raises:
        InvalidInput: a line is wrong, or likely to be a patient who is there already; nothing was written.
        CaseLedgerError: it ended on the way; run again, it goes on where it was.
    """
    out, err = out or sys.stdout, err or sys.stderr

    def tell(what: str) -> None:
        print(what, file=err, flush=True)

    request = Request(id=_actor(actor), role="coordinator", cause=str(uuid7()), now=time.time_ns() // 1000)
    with sources.opened(file) as source:
        checked = check(source, read_line, request, tell)
        if checked.wrong:
            raise InvalidInput(f"nothing was imported; lines that are wrong: {checked.wrong} of {checked.lines}")
        tell(f"caseledger import: {checked.lines} lines checked")
        with composition.database(settings) as urls, composition.opened(settings, urls) as service:
            known = Known(service.pool, service.ledger, service.keys.preparation)
            there = _there(known, checked, tell)
            _likely(known, checked, there, tell, allowed=allow_likely)
            imported = Imported(already=len(there))
            if len(there) < checked.lines:
                imported = _imported(service, urls, known, source, checked, there, request, err)
            with service.pool.connection() as connection:
                size, _ = service.checkpoints.latest(connection)
                # As at every export: whoever keeps this checkpoint can verify all that it should have.
                service.cosignatures.cosign(connection, size)
                note = service.cosignatures.note(connection, size)
    done = {name: getattr(imported, name) for name in Imported.__struct_fields__}
    print(msgspec.json.encode(Summary(**done, checkpoint=note.decode())).decode(), file=out)
    return 0


def read_line(raw: bytes) -> CaseLine:
    """One line, read as strictly as a body that the API is sent.

    Raises:
        CaseLedgerError: what is wrong with it, by field; nothing of what it says.
    """
    try:
        return decode_body(raw, CaseLine)
    except Told as told:
        raise type(told.error)(str(told.error).replace("the body", "the line")) from None


def _imported(
    service: Service,
    urls: composition.Urls,
    known: Known,
    source: Source,
    checked: Checked,
    there: set[int],
    request: Request,
    err: TextIO,
) -> Imported:
    began = time.monotonic()

    def tell(so_far: Imported) -> None:
        rate = so_far.entries / max(time.monotonic() - began, 1e-3)
        done = so_far.cases + so_far.already
        print(f"caseledger import: {done} of {checked.lines} cases, {rate:.0f} entries/s", file=err, flush=True)

    with Bulk(urls.service, service.keys.origin, service.checkpoints, service.keyring) as bulk:
        return Importing(bulk, service.keyring, known, read_line).run(source, checked, there, request, tell)


def _there(known: Known, checked: Checked, tell: Tell) -> set[int]:
    there, changed = known.imported(checked)
    for line in changed:
        tell(f"line {line}: reference: was imported before, with other content")
    if changed:
        raise InvalidInput(
            f"nothing was imported; lines that are not what they were: {len(changed)} of {checked.lines}"
        )
    return there


def _likely(known: Known, checked: Checked, there: set[int], tell: Tell, *, allowed: bool) -> None:
    likely = known.likely(checked, there)
    for each in likely:
        tell(f"line {each.line}: likely the same patient as {each.same_as}")
    if likely and not allowed:
        found = f"lines that are likely to be of patients who are there already: {len(likely)} of {checked.lines}"
        raise InvalidInput(f"nothing was imported; {found}. Look at them; --allow-likely-duplicates lets them in")


def _actor(actor: str) -> str:
    try:
        return msgspec.convert(actor, Identifier)
    except msgspec.ValidationError:
        raise InvalidInput(
            "--actor is the id that a coordinator signs in under: 1 to 64 characters a-z 0-9 . _ -"
        ) from None
