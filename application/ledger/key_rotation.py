"""The files of a rotation: the next key made before anybody hears of it, and put in place after the log says so.

Crash order: the next key's file is durable before the proposal that names it; it takes its place after the entry that
puts it in use has committed. Both steps may be repeated. Between the two the log says which key is in use, and the
files hold both.
"""

import os
import secrets

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger.keyfiles import KeyFiles, flush, only_one, raw_public, write_private
from application.ledger.keylock import SECRET_BYTES
from domain.errors import Misconfigured
from domain.ledger.keys import key_id
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.succession import succession_message


class NextKey(msgspec.Struct, frozen=True, kw_only=True):
    """What proposes a key of the log's own: see `ServiceKeys.propose`."""

    purpose: str
    vkey: str
    replaces: str
    possession: str


def make_next(keys: KeyFiles, purpose: str) -> NextKey:
    """Make the file of the key that is to replace the present one of a purpose ("entry", "checkpoint").

    A key that was made before and is not in use yet is taken again, so that a repetition leaves no files behind.
    """
    present: Ed25519PrivateKey = getattr(keys, purpose)
    waiting = [key for (of, _), key in keys.next.items() if of == purpose]
    if waiting:
        fresh = waiting[0]
    else:
        secret = secrets.token_bytes(SECRET_BYTES)
        fresh = Ed25519PrivateKey.from_private_bytes(secret)
        path = keys.place / "keys" / f"{purpose}.next.{key_id(raw_public(fresh))}"
        write_private(path, keys.locker.lock(purpose, secret))
    name = f"{keys.origin}/entries" if purpose == "entry" else keys.origin
    vkey = str(VerifierKey.make(name, ED25519, raw_public(fresh)))
    replaces = key_id(raw_public(present))
    possession = fresh.sign(succession_message(keys.origin, purpose, replaces, vkey)).hex()
    return NextKey(purpose=purpose, vkey=vkey, replaces=replaces, possession=possession)


def put_in_place(keys: KeyFiles, purpose: str, key: str) -> KeyFiles:
    """Let the next key of this id be the present one, as the log says; the files afterwards.

    The earlier key's public half stays. The private half of an entry key goes; a checkpoint key's stays for what was
    committed before it stopped, and may be deleted once that is signed.

    Raises:
        Misconfigured: there is no file of that key.
    """
    directory = keys.place / "keys"
    with only_one(keys.place):
        present, path = directory / purpose, directory / f"{purpose}.next.{key}"
        if path.exists():
            earlier = raw_public(getattr(keys, purpose))
            if key_id(earlier) == key:
                raise Misconfigured(f"the key {key} is in use already")
            public = directory / f"{purpose}.public.{key_id(earlier)}"
            if not public.exists():
                write_private(public, earlier)
            old = directory / f"{purpose}.old.{key_id(earlier)}"
            if purpose == "checkpoint" and not old.exists():
                os.link(present, old)
                flush(directory)
            path.rename(present)
            flush(directory)
    again = keys.again()
    if key_id(raw_public(getattr(again, purpose))) != key and (purpose, key) not in again.earlier:
        raise Misconfigured(f"the log's {purpose} key is {key}, and the data directory does not hold it")
    return again
