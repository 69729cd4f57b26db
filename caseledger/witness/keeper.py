"""The witness itself: its name, its keys, the logs that it knows, and the one thing that it does."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from application.witness.post_quantum import make_seed, read_seed
from caseledger.witness.state import Latest, origin_hash
from domain.errors import BadPublicKey, MalformedNote, Misconfigured
from domain.ledger.cosignature import render_lines
from domain.ledger.cosignature_mldsa import MAX_NAME_BYTES, ML_DSA_44
from domain.ledger.cosignature_witness import (
    SIZE_TYPE,
    Accepted,
    AddCheckpoint,
    Refusal,
    authenticate,
    decide,
    parse_request,
)
from domain.ledger.note import COSIGNATURE_V1, ED25519, Note, VerifierKey, cosign, cosign_mldsa, is_key_name

MAX_LOGS = 1_000
MAX_LOGS_BYTES = 4 * 1024 * 1024
TEXT = "text/plain; charset=utf-8"

log = structlog.get_logger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """What the caller is told."""

    status: int
    body: bytes
    content_type: str = TEXT


class Witness:
    """A witness over its directory; threads and processes may share one.

    Raises:
        Misconfigured: there is none in the directory, or a file of it is unusable.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        try:
            self.name = (directory / "name").read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise Misconfigured(f"there is no witness in {directory}: `caseledger witness init` makes one") from None
        self._directory = directory
        self._clock = clock
        self._ed25519 = Ed25519PrivateKey.from_private_bytes(read_seed(directory / "keys/ed25519"))
        self._mldsa = MLDSA44PrivateKey.from_seed_bytes(read_seed(directory / "keys/mldsa44"))
        self._latest = Latest(directory)
        self.logs()

    def keys(self) -> tuple[VerifierKey, VerifierKey]:
        """Its public halves: kind 0x04 and kind 0x06, of one name."""
        return (
            VerifierKey.make(self.name, COSIGNATURE_V1, self._ed25519.public_key().public_bytes_raw()),
            VerifierKey.make(self.name, ML_DSA_44, self._mldsa.public_key().public_bytes_raw()),
        )

    def logs(self) -> dict[str, list[VerifierKey]]:
        """The keys of the logs that it knows, by origin; read anew each time, so that one can be added as it runs."""
        known: dict[str, list[VerifierKey]] = {}
        for key in read_logs(self._directory):
            known.setdefault(key.name, []).append(key)
        return known

    def add_checkpoint(self, raw: bytes) -> Answer:
        """Answer a request to cosign (C2SP tlog-witness, add-checkpoint); its own damaged files raise."""
        try:
            request = parse_request(raw)
        except MalformedNote as error:
            return _refused(Refusal(400, str(error)))
        checked = authenticate(request.note, self.logs())
        if isinstance(checked, Refusal):
            return _refused(checked)
        with self._latest.locked(checked.checkpoint.origin):
            return self._decided(request, checked)

    def _decided(self, request: AddCheckpoint, checked: Accepted) -> Answer:
        new, text = checked.checkpoint, checked.text
        found = self._latest.read(new.origin, self.keys())
        latest, before = found or (None, b"")
        forked = latest is not None and latest.size == new.size and latest.root != new.root
        refusal = decide(request, new, latest)
        if forked:
            # Both notes carry the log's good signature: together they convict it, whatever the request said besides.
            self._latest.keep_fork(new.origin, before, Note(text, checked.lines).render())
            log.error("witness.fork", log=origin_hash(new.origin), size=new.size)
        if refusal is not None:
            log.warning("witness.refused", log=origin_hash(new.origin), size=new.size, status=refusal.status)
            return _refused(refusal)
        time_s = int(self._clock())
        lines = (cosign(text, self.name, self._ed25519, time_s), cosign_mldsa(text, self.name, self._mldsa, time_s))
        self._latest.write(new.origin, Note(text, (*checked.lines, *lines)).render())
        log.info("witness.cosigned", log=origin_hash(new.origin), size=new.size)
        return Answer(200, render_lines(lines))

    def checkpoint(self, name: str) -> bytes | None:
        """The latest cosigned checkpoint of the log with this origin hash."""
        known = {origin_hash(origin) for origin in self.logs()}
        return self._latest.note(name) if name in known else None


def _refused(refusal: Refusal) -> Answer:
    if refusal.size is not None:
        return Answer(refusal.status, f"{refusal.size}\n".encode(), SIZE_TYPE)
    return Answer(refusal.status, f"{refusal.why}\n".encode())


def make(directory: Path, name: str) -> Witness:
    """Make a new witness in a directory that has none.

    Raises:
        Misconfigured: there is one, or the name cannot name a key.
    """
    if not is_key_name(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise Misconfigured("a witness's name has no space and no plus, and at most 255 bytes")
    if (directory / "name").exists():
        raise Misconfigured(f"there is a witness in {directory} already")
    for each in (directory, directory / "keys", directory / "latest"):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_seed(directory / "keys/ed25519")
    make_seed(directory / "keys/mldsa44")
    # The name comes last: without it there is no witness yet, and making one goes on where it stopped.
    _replace(directory / "name", f"{name}\n")
    return Witness(directory)


def read_logs(directory: Path) -> tuple[VerifierKey, ...]:
    """The keys of the logs that a witness knows.

    Raises:
        Misconfigured: the file is not one of verifier keys.
    """
    try:
        with (directory / "logs").open("rb") as file:
            lines = file.read(MAX_LOGS_BYTES + 1).decode("utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError:
        raise Misconfigured("the file logs is UTF-8 text") from None
    wanted = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if len(wanted) > MAX_LOGS:
        raise Misconfigured(f"a witness knows at most {MAX_LOGS} keys of logs")
    try:
        return tuple(VerifierKey.parse(line) for line in wanted)
    except BadPublicKey as error:
        raise Misconfigured(f"the file logs holds a key that is not one: {error}") from None


def add_log(directory: Path, vkey: str) -> VerifierKey:
    """Let a witness know a log, by a key that is named as the log's origin; one that it knows changes nothing.

    Raises:
        BadPublicKey: not a verifier key.
        Misconfigured: there is no witness, the key is its own or one of entries, or it knows as many as it can.
    """
    witness = Witness(directory)
    key = VerifierKey.parse(vkey.strip())
    if key.name == witness.name:
        raise Misconfigured("a witness does not watch its own name")
    if key.algorithm == ED25519 and key.name.endswith("/entries"):
        # It would never hold: what a witness reads are checkpoints, and they bear the name of the log itself.
        raise Misconfigured("that is the key of a log's entries: give the key of its checkpoints, named as the log")
    known = read_logs(directory)
    if key in known:
        return key
    if len(known) == MAX_LOGS:
        raise Misconfigured(f"a witness knows at most {MAX_LOGS} keys of logs")
    _replace(directory / "logs", "".join(f"{each}\n" for each in (*known, key)))
    return key


def _replace(path: Path, content: str) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
