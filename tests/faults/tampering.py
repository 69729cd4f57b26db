"""What the tamper matrix does to a copy of the ledger, and the means by which it is found.

Each means gives what it found and where, as an index in the log, or None where it noticed nothing.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import sql

from application.ledger import keyfiles
from application.ledger.entries import Append, SealedEntry, signatures
from application.ledger.keyfiles import KeyFiles
from application.ledger.nodes import store_full_tiles
from application.ledger.pin import Pin
from caseledger import monitor_command, verify_log_command
from caseledger.embedded.roles import SUPERUSER
from caseledger.log.own import Place
from caseledger.log.sources import DatabaseSource
from caseledger.settings import read
from domain.errors import CaseLedgerError
from domain.ledger import verify as bundles
from domain.ledger.checkpoint import Checkpoint, sign, verifier_keys
from domain.ledger.cosignature_split import find_split
from domain.ledger.dsse import pre_authentication_encoding, render
from domain.ledger.sealing import Opener, Opening, seal
from domain.ledger.statement import Statement, encode_statement
from domain.ledger.tree import Frontier, leaf_hash
from projections import rebuild
from tests.conftest import Database
from tests.faults.tampering_scene import Scene, copy_database, drop_database, urls
from tests.ledger_fixture import open_ledger
from tests.service_fixture import COMPLIANCE, PATIENT, open_service, request

Found = tuple[str, int | None] | None
TABLES = ("entry", "root", "checkpoint", "tile", "head", "idempotency")


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger to alter, and to look at. The files beside its data directory are what somebody else keeps."""

    scene: Scene
    data: Path
    urls: Database

    @contextmanager
    def superuser(self) -> Iterator[psycopg.Connection[Any]]:
        """A superuser who has switched the triggers off."""
        with psycopg.connect(self.urls.superuser_url, autocommit=True) as connection:
            for table in TABLES:
                connection.execute(sql.SQL("ALTER TABLE ledger.{} DISABLE TRIGGER USER").format(sql.Identifier(table)))
            yield connection

    def execute(self, statement: str, *values: object) -> None:
        """One alteration, of one row at least."""
        with self.superuser() as connection:
            assert connection.execute(statement, values).rowcount > 0

    def keys(self) -> KeyFiles:
        """The service's keys."""
        return keyfiles.load(self.data)

    def roll_back(self) -> None:
        """The database as it was."""
        drop_database(self.scene.server, self.urls.name)
        copy_database(self.scene.server, "tamper_older", self.urls.name)

    def forge(self, statement: Statement, payload: bytes, sign_with: Ed25519PrivateKey | bytes | None) -> int:
        """Append an entry past every rule, with the service's keys; by an actor's key, or with a given signature."""
        with open_ledger(self.urls, self.data) as one:
            opening = Opening(secrets.token_bytes(32), payload)
            statement = msgspec.structs.replace(statement, commitment=opening.commitment())
            raw = encode_statement(statement)
            pae = pre_authentication_encoding(raw)
            actor = sign_with.sign(pae) if isinstance(sign_with, Ed25519PrivateKey) else sign_with
            sealed = seal(one.keyring.get(statement.subject or ""), secrets.token_bytes(12), opening, raw)
            entry = SealedEntry.make(statement, raw, actor, one.keys.entry.sign(pae), sealed)
            return one.recorder.append(Append(entries=(entry,))).first_index

    def rewrite(self, index: int, key: Ed25519PrivateKey, **changes: object) -> None:
        """Change a statement, chain and sign the rest of its stream anew, and make payloads fit, with a key."""
        with open_ledger(self.urls, self.data, start=False) as one, self.superuser() as connection:
            (target,) = one.recorder.range(index, index + 1)
            about = target.statement()
            prev = about.prev
            for row in one.recorder.rows(about.stream, about.rev - 1, None, desc=False, limit=None):
                old = row.statement()
                new = msgspec.structs.replace(old, prev=prev, **(changes if row.index == index else {}))
                raw, sealed = encode_statement(new), row.sealed
                if sealed is not None and old.subject is not None and old.commitment is not None:
                    subject = one.keyring.get(old.subject)
                    opening = Opener(subject).open(sealed, row.raw, old.commitment)
                    sealed = seal(subject, secrets.token_bytes(12), opening, raw)
                signature = key.sign(pre_authentication_encoding(raw))
                leaf = leaf_hash(render(raw, signatures(row.actor_signature, signature)))
                connection.execute(
                    "UPDATE ledger.entry SET statement = %s::json, ledger_signature = %s, leaf = %s, sealed = %s"
                    " WHERE index = %s",
                    (raw.decode(), signature, leaf, sealed, row.index),
                )
                prev = leaf.hex()

    def repair(self, checkpoint_key: Ed25519PrivateKey | None = None, *, pin: bool = False) -> None:
        """Make leaves, tiles, roots and head agree with the entries again; with a key checkpoints, and the pin, too."""
        keys = self.keys()
        with self.superuser() as connection:
            rows = connection.execute(
                "SELECT index, statement::text, actor_signature, ledger_signature FROM ledger.entry ORDER BY index"
            ).fetchall()
            leaves = [leaf_hash(render(raw.encode(), signatures(actor, own))) for _, raw, actor, own in rows]
            with connection.cursor() as cursor:
                cursor.executemany(
                    "UPDATE ledger.entry SET leaf = %s WHERE index = %s",
                    [(leaf, row[0]) for leaf, row in zip(leaves, rows, strict=True)],
                )
            connection.execute("DELETE FROM ledger.tile")
            store_full_tiles(connection, len(leaves))
            roots = connection.execute("SELECT size, committed_at FROM ledger.root ORDER BY size").fetchall()
            frontier, note = Frontier(), b""
            for size, committed_at in roots:
                if size > len(leaves):
                    connection.execute("DELETE FROM ledger.checkpoint WHERE size = %s", (size,))
                    connection.execute("DELETE FROM ledger.root WHERE size = %s", (size,))
                    continue
                frontier = frontier.extend(leaves[frontier.size : size])
                connection.execute("UPDATE ledger.root SET root = %s WHERE size = %s", (frontier.root(), size))
                if checkpoint_key is not None:
                    note = sign(Checkpoint(keys.origin, size, frontier.root()), checkpoint_key, committed_at)
                    connection.execute("UPDATE ledger.checkpoint SET note = %s WHERE size = %s", (note.decode(), size))
            connection.execute(
                "UPDATE ledger.head SET size = %s, frontier = %s",
                (len(leaves), frontier.extend(leaves[frontier.size :]).to_bytes()),
            )
        if pin:
            (self.data / "pin").unlink()
            Pin(self.data / "pin", keys.checkpoint_verifier()).advance(note)

    def rebuild_views(self) -> None:
        """Make the views agree with the entries."""
        with open_ledger(self.urls, self.data, start=False) as one:
            rebuild.rebuild(self.urls.owner_url, one.ledger, one.keyring)

    # The means, by the names that the table has for them.

    def start_up(self) -> Found:
        """`Appender.start`: the pin, and the whole tree from the stored leaves."""
        with self._finding() as found, open_ledger(self.urls, self.data):
            pass
        return found()

    def reading(self, index: int) -> Found:
        """Loading the entry's stream, as every use case does."""
        with self._finding() as found, open_ledger(self.urls, self.data, start=False) as one:
            one.ledger.stream(self.stream_of(index))
        return found()

    def replay_check(self) -> Found:
        """`caseledger replay --check`: the views against the log."""
        with self._finding() as found, open_ledger(self.urls, self.data, start=False) as one:
            for each in rebuild.check(one.ledger, one.pool, one.keyring):
                if not each.equal:
                    key = each.difference.key if each.difference is not None else None
                    return "view", key if isinstance(key, int) else None
        return found()

    def monitor(self, kept: bytes | None = None) -> Found:
        """`caseledger monitor --once`, begun now, which has seen nothing before, or else a checkpoint that was kept."""
        state, said = self.data / f"watched-{secrets.token_hex(4)}", StringIO()
        if kept is not None:
            Pin(state, self.keys().checkpoint_verifier()).advance(kept)
        with patch.dict(os.environ, {"CASELEDGER_DATA": str(self.data)}), redirect_stdout(said):
            status = monitor_command.run(read(), self.urls.service_url, None, state, once=True)
        found = re.search(r"^BAD: from entry (\d+) on: (\w+): ", said.getvalue(), re.MULTILINE)
        assert status == (monitor_command.GOOD if found is None else monitor_command.BAD)
        return None if found is None else (found[2], int(found[1]))

    def verify_log(self, *, since: bool = False) -> Found:
        """`caseledger verify --log`, with the published keys; `since` a checkpoint that was kept elsewhere."""
        file = self.scene.folder / "keys"
        wanted = verify_log_command.Wanted(keys=file, since=self.scene.folder / "kept" if since else None, jobs=1)
        try:
            place = Place(self.urls.service_url, self.keys())
            report = verify_log_command.verify(DatabaseSource(self.urls.service_url), wanted, place.openings)
        except CaseLedgerError as error:
            return error.code, _position(str(error))
        return None if report.failure is None else (report.failure.check, report.failure.index)

    def verify_case_bundle(self) -> Found:
        """`caseledger verify` of the case's bundle, exported now; holes are told where its content is disclosed."""
        with self._finding() as found, open_service(self.urls, self.data) as service:
            for who in (COMPLIANCE, PATIENT):
                report = bundles.verify(
                    service.bundles.export(request(*who), self.scene.walk.case), service.keys.trusted()
                )
                if report.failure is not None:
                    return report.failure.check, report.failure.index
                if report.holes:
                    return "hole", report.holes[0]
        return found()

    def split(self) -> Found:
        """Two checkpoints of one size held side by side: the one that is served, and one that somebody kept."""
        keys = self.keys()
        served = DatabaseSource(self.urls.service_url).checkpoint()
        kept = (self.scene.folder / "kept").read_bytes()
        split = find_split((kept, served), verifier_keys(keys.origin, keyfiles.raw_public(keys.checkpoint)))
        return None if split is None else ("split view", split.size - 1)

    def look(self, means: str, index: int) -> Found:
        """Use a means by its name."""
        kept = (self.scene.folder / "kept").read_bytes()
        looks: dict[str, Callable[[], Found]] = {
            "start-up": self.start_up,
            "reading": lambda: self.reading(index),
            "replay --check": self.replay_check,
            "monitor": self.monitor,
            "verify --log": self.verify_log,
            "verify": self.verify_case_bundle,
            "monitor, kept": lambda: self.monitor(kept),
            "verify --log --since": lambda: self.verify_log(since=True),
            "split detection": self.split,
        }
        return looks[means]()

    def stream_of(self, index: int) -> str:
        """Stream of an entry, as it was before anything was altered."""
        url = self.scene.server.url(SUPERUSER, "tamper_newest")
        for at in (url, self.urls.superuser_url):
            with psycopg.connect(at) as connection:
                row = connection.execute("SELECT stream FROM ledger.entry WHERE index = %s", (index,)).fetchone()
            if row is not None:
                return str(row[0])
        raise AssertionError(index)

    @contextmanager
    def _finding(self) -> Iterator[Callable[[], Found]]:
        """Takes a typed failure as what was found."""
        found: list[Found] = [None]
        try:
            yield lambda: found[0]
        except CaseLedgerError as error:
            found[0] = error.code, _position(str(error))


def _position(message: str) -> int | None:
    named = re.search(r"\bentry (\d+)", message)
    return int(named[1]) if named else None


@contextmanager
def copy_of(scene: Scene) -> Iterator[Copy]:
    """The newest moment, to be altered; it goes afterwards."""
    name = f"tampered_{secrets.token_hex(4)}"
    data = scene.folder / name
    shutil.copytree(scene.folder / "newest", data)
    copy_database(scene.server, "tamper_newest", name)
    try:
        yield Copy(scene=scene, data=data, urls=urls(scene.server, name))
    finally:
        drop_database(scene.server, name)
        shutil.rmtree(data)
