"""What the bulk path's processes do: commit to payloads, chain, encrypt, sign. They hold no connection and no state."""

import multiprocessing
import os
import secrets
import signal
import threading
from multiprocessing.process import BaseProcess

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger.entries import signatures
from domain.errors import CaseLedgerError, SubjectErased
from domain.ledger import sealing
from domain.ledger.dsse import pre_authentication_encoding, render
from domain.ledger.sealing import Opening
from domain.ledger.statement import Statement, encode_statement
from domain.ledger.tree import leaf_hash


class Job(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One entry to be: its statement but for origin and commitment; `prev` counts where nothing came before it here."""

    stream: str
    rev: int
    prev: str | None
    case: str | None
    kind: str
    actor: str
    role: str
    recorded_at: int
    occurred_at: int | None
    cause: str
    purpose: str
    subject: str | None
    object: str | None
    version: str | None
    outcome: str | None
    payload: bytes
    key: bytes | None


class Result(msgspec.Struct, frozen=True, array_like=True):
    """One entry, sealed."""

    raw: bytes
    signature: bytes
    leaf: bytes
    sealed: bytes | None


_jobs = msgspec.msgpack.Decoder(list[list[Job]])


def begin() -> None:
    """Make this a process that ends with the one that started it, even where that was killed."""
    # To be interrupted is for that one, which then lets us finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # We hold both ends of the pipe that jobs come by, so nothing else would tell.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def ready() -> None:
    """Nothing; to be asked for it starts a process, and imports what it needs."""


def seal_jobs(origin: str, private: bytes, packed: bytes) -> tuple[bytes, dict[int, CaseLedgerError]]:
    """Seal the imports of one process in order: their entries (MessagePack), and which of them were refused, and why.

    An import that was refused has no entries, and those that build on it are sealed as if it had gone in nowhere.
    """
    key = Ed25519PrivateKey.from_private_bytes(private)
    heads: dict[str, str | None] = {}
    made: list[list[Result]] = []
    refused: dict[int, CaseLedgerError] = {}
    for number, jobs in enumerate(_jobs.decode(packed)):
        # Of its own streams alone, so that what was refused halfway leaves nothing behind.
        own = {job.stream: heads.get(job.stream, job.prev) for job in reversed(jobs)}
        try:
            made.append([_sealed(origin, key, job, own) for job in jobs])
            heads.update(own)
        except CaseLedgerError as error:
            refused[number] = error
            made.append([])
    return msgspec.msgpack.encode(made), refused


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(0)


def _sealed(origin: str, key: Ed25519PrivateKey, job: Job, heads: dict[str, str | None]) -> Result:
    opening = None
    if job.subject is not None:
        if not job.key:
            raise SubjectErased("the data of this subject was erased")
        opening = Opening(secrets.token_bytes(sealing.BLINDING_BYTES), job.payload)
    raw = encode_statement(
        Statement(
            origin=origin,
            stream=job.stream,
            rev=job.rev,
            prev=heads[job.stream],
            case=job.case,
            kind=job.kind,
            actor=job.actor,
            role=job.role,
            recorded_at=job.recorded_at,
            occurred_at=job.occurred_at,
            cause=job.cause,
            purpose=job.purpose,
            subject=job.subject,
            commitment=None if opening is None else opening.commitment(),
            object=job.object,
            version=job.version,
            outcome=job.outcome,
        )
    )
    sealed = None
    if opening is not None and job.key is not None:
        sealed = sealing.seal(job.key, secrets.token_bytes(sealing.NONCE_BYTES), opening, raw)
    signature = key.sign(pre_authentication_encoding(raw))
    leaf = leaf_hash(render(raw, signatures(None, signature)))
    heads[job.stream] = leaf.hex()
    return Result(raw, signature, leaf, sealed)
