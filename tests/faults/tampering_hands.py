"""The hands of the tamper matrix: each alters a copy of the ledger and returns the index of what it altered."""

import base64
import time
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caseledger.log.sources import DatabaseSource
from domain.ledger.statement import Statement
from tests.faults.tampering import Copy
from tests.ledger_fixture import open_ledger
from tests.service_fixture import COMPLIANCE, open_service, request


def flip(column: str, place: str = "plain") -> Callable[[Copy], int]:
    """One bit of a column of an entry."""

    def act(copy: Copy) -> int:
        index: int = getattr(copy.scene, place)
        bit = f"set_bit({column}, 99, 1 - get_bit({column}, 99))"
        copy.execute(f"UPDATE ledger.entry SET {column} = {bit} WHERE index = %s", index)
        return index

    return act


def statement_bit(copy: Copy) -> int:
    """TREAT becomes TREAU, which is one bit."""
    copy.execute(
        "UPDATE ledger.entry SET statement = replace(statement::text, 'TREAT', 'TREAU')::json WHERE index = %s",
        copy.scene.plain,
    )
    return copy.scene.plain


def tile_bit(copy: Copy) -> int:
    """The hash of one entry in the stored tile."""
    bit = copy.scene.plain * 256 + 3
    copy.execute("UPDATE ledger.tile SET hashes = set_bit(hashes, %s, 1 - get_bit(hashes, %s))", bit, bit)
    return copy.scene.plain


def take_payload(copy: Copy) -> int:
    """A payload is gone; nobody was erased."""
    copy.execute("UPDATE ledger.entry SET sealed = NULL WHERE index = %s", copy.scene.plain)
    return copy.scene.plain


def take_key(copy: Copy) -> int:
    """The key of a subject is gone, so nothing of theirs opens; nobody was erased."""
    copy.execute(
        "DELETE FROM ledger.subject_key WHERE subject ="
        " (SELECT statement ->> 'subject' FROM ledger.entry WHERE index = %s)",
        copy.scene.plain,
    )
    return copy.scene.plain


def take_payload_and_fence(copy: Copy) -> int:
    """The payload of a case's second entry is gone, and the fence says of its subject that it was erased."""
    index = copy.scene.early
    copy.execute("UPDATE ledger.entry SET sealed = NULL WHERE index = %s", index)
    copy.execute(
        "INSERT INTO ledger.fence (subject) SELECT statement ->> 'subject' FROM ledger.entry WHERE index = %s", index
    )
    return index


def note_bit(copy: Copy) -> int:
    """The last bit of the newest checkpoint's last signature."""
    note = DatabaseSource(copy.urls.service_url).checkpoint().decode()
    lines, encoded = note.removesuffix("\n").rsplit(" ", 1)
    blob = base64.b64decode(encoded)
    flipped = base64.b64encode(blob[:-1] + bytes([blob[-1] ^ 1])).decode()
    copy.execute("UPDATE ledger.checkpoint SET note = %s WHERE size = %s", f"{lines} {flipped}\n", copy.scene.size)
    return copy.scene.size - 1


def delete(copy: Copy) -> int:
    """A row in the middle."""
    copy.execute("DELETE FROM ledger.entry WHERE index = %s", copy.scene.plain)
    return copy.scene.plain


def delete_tail(copy: Copy) -> int:
    """The newest row."""
    copy.execute("DELETE FROM ledger.entry WHERE index = %s", copy.scene.size - 1)
    return copy.scene.size - 1


def cut_tail(copy: Copy) -> int:
    """The newest batch, with its root and checkpoint, and the head set back."""
    copy.execute("DELETE FROM ledger.entry WHERE index >= %s", copy.scene.older_size)
    copy.repair()
    return copy.scene.older_size


def swap(copy: Copy) -> int:
    """Two neighbours of one stream."""
    one = copy.scene.plain
    for was, becomes in ((one, 10**9), (one + 1, one), (10**9, one + 1)):
        copy.execute("UPDATE ledger.entry SET index = %s WHERE index = %s", becomes, was)
    return one


def renumber(copy: Copy) -> int:
    """Revision 5 becomes 50."""
    copy.execute(
        "UPDATE ledger.entry SET statement = replace(statement::text, '\"rev\":5', '\"rev\":50')::json"
        " WHERE index = %s",
        copy.scene.plain,
    )
    return copy.scene.plain


def resign(copy: Copy) -> int:
    """Signed again with another key, and the whole tree made to agree."""
    copy.rewrite(copy.scene.plain, Ed25519PrivateKey.generate())
    copy.repair()
    return copy.scene.plain


def edit_and_repair(copy: Copy) -> int:
    """A statement says another purpose; leaf, tiles, roots and head are made to agree."""
    statement_bit(copy)
    copy.repair()
    return copy.scene.plain


def alter_key_history(copy: Copy) -> int:
    """The key's approval names somebody else; the tree is made to agree."""
    copy.execute(
        "UPDATE ledger.entry SET statement = replace(statement::text, 'compliance-1', 'compliance-2')::json"
        " WHERE index = %s",
        copy.scene.approval,
    )
    copy.repair()
    return copy.scene.approval


def exchange_key_payload(copy: Copy) -> int:
    """The sealed payload of the key's approval is another entry's."""
    copy.execute(
        "UPDATE ledger.entry SET sealed = (SELECT sealed FROM ledger.entry WHERE index = %s) WHERE index = %s",
        copy.scene.plain,
        copy.scene.approval,
    )
    return copy.scene.approval


def _next_opinion(copy: Copy) -> tuple[Statement, bytes, bytes]:
    """The real opinion's statement at the end of its stream, its content to be committed to anew, and its signature."""
    with open_ledger(copy.urls, copy.data, start=False) as one:
        (row,) = one.recorder.range(copy.scene.opinion, copy.scene.opinion + 1)
        statement = row.statement()
        (last,) = one.recorder.rows(statement.stream, None, None, desc=True, limit=1)
        opening = one.ledger.events.reader.opening_at(row)
        (key,) = one.recorder.rows(f"key-{statement.key_id}", None, None, desc=True, limit=1)
    now = time.time_ns() // 1000
    moved = msgspec.structs.replace(
        statement,
        rev=last.statement().rev + 1,
        prev=last.leaf.hex(),
        key_head=key.leaf.hex(),
        recorded_at=now,
        expires_at=now + 600_000_000,
    )
    assert opening is not None
    assert row.actor_signature is not None
    return moved, opening.payload, row.actor_signature


def sign_with_revoked(copy: Copy) -> int:
    """The surgeon's key signs once more after it was revoked."""
    with open_service(copy.urls, copy.data) as service:
        service.signing_keys.revoke(request(*COMPLIANCE), copy.scene.walk.key_id, "lost")
    statement, payload, _ = _next_opinion(copy)
    return copy.forge(statement, payload, copy.scene.walk.key)


def without_actor(copy: Copy) -> int:
    """An opinion that only the log signed."""
    statement, payload, _ = _next_opinion(copy)
    bare = msgspec.structs.replace(statement, key_id=None, key_head=None, expires_at=None)
    return copy.forge(bare, payload, None)


def graft(copy: Copy) -> int:
    """The signature of the surgeon's real opinion under another one."""
    statement, payload, signature = _next_opinion(copy)
    return copy.forge(statement, payload, signature)


def roll_back(copy: Copy) -> int:
    """The database as it was some cases ago."""
    copy.roll_back()
    return copy.scene.older_size


def roll_back_both(copy: Copy) -> int:
    """Database and pin as they were."""
    copy.roll_back()
    (copy.data / "pin").write_bytes((copy.scene.folder / "older" / "pin").read_bytes())
    return copy.scene.older_size


def rewrite_signed(copy: Copy) -> int:
    """History rewritten with the service's keys: entries, tree, checkpoints, views."""
    keys = copy.keys()
    copy.rewrite(copy.scene.plain, keys.entry, purpose="HRESCH")
    copy.repair(keys.checkpoint)
    copy.rebuild_views()
    return copy.scene.plain


def rewrite_everything(copy: Copy) -> int:
    """The same, and the pin with it."""
    keys = copy.keys()
    copy.rewrite(copy.scene.plain, keys.entry, purpose="HRESCH")
    copy.repair(keys.checkpoint, pin=True)
    copy.rebuild_views()
    return copy.scene.plain


def alter_view(copy: Copy) -> int:
    """A row of a read model, which no signature covers."""
    copy.execute("UPDATE views.trail SET actor = 'nobody' WHERE index = %s", copy.scene.plain)
    return copy.scene.plain
