"""Bundles: a case's entries with their proofs, to be verified by somebody who has nothing else."""

from psycopg_pool import ConnectionPool

from application.accesses import Accesses
from application.keys.service_keys import ServiceKeys
from application.ledger.checkpoints import Checkpoints
from application.ledger.nodes import Nodes
from application.ledger.recorder import EntryRow
from application.ledger.store import Ledger
from application.request import Request
from application.witness.cosignatures import Cosignatures
from domain.ledger.bundle import Bundle, Disclosure, Manifest, Proof, TimeStamp, case_stream, key_stream, write
from domain.ledger.origins import STREAM
from domain.ledger.receipt import Receipt
from domain.ledger.tree import inclusion_proof


class Bundles:
    """Exports of cases, and receipts of single entries."""

    def __init__(
        self,
        pool: ConnectionPool,
        ledger: Ledger,
        checkpoints: Checkpoints,
        accesses: Accesses,
        service_keys: ServiceKeys,
        cosignatures: Cosignatures,
        origin: str,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._service_keys = service_keys
        self._cosignatures = cosignatures
        self._checkpoints = checkpoints
        self._accesses = accesses
        self._origin = origin

    def checkpoint(self, *, quorum: bool = False) -> bytes:
        """The newest signed checkpoint with its cosignatures; or the newest that a quorum of witnesses cosigned.

        Raises:
            EntryNotFound: the log is empty, or no checkpoint has a quorum.
        """
        with self._pool.connection() as connection:
            if quorum:
                return self._cosignatures.quorate_note(connection)
            return self._cosignatures.latest(connection)[1]

    def receipt(self, index: int) -> Receipt:
        """The receipt of an entry, under the checkpoint of the batch that appended it; holds nothing of a person.

        Raises:
            EntryNotFound: the log does not reach that far.
        """
        with self._pool.connection() as connection:
            return self._checkpoints.receipts(connection, index, 1).receipts[0]

    def export(self, request: Request, case: str) -> bytes:
        """A case's bundle, up to its present revision, proven against the checkpoint with the most said of it.

        Openings are in it only as far as the caller may read content; those of the keys that signed, the log's own
        among them, always are, since a public key is no secret. The export is recorded first.

        Raises:
            CaseNotFound, Refused: not for this caller; recorded.
        """
        access = self._accesses.read(request, case, "bundle")
        rows = self._ledger.recorder.rows(case_stream(case), None, access.case.revision, desc=False, limit=None)
        content = {row.index for row in rows} if access.permission.content else set()
        signers = {key for row in rows if (key := row.statement().key_id) is not None}
        # And the changes of origin, if the log was ever restored: without them older entries are another log's.
        for stream in sorted({STREAM, *map(key_stream, (*signers, *self._service_keys.of_the_log()))}):
            history = self._ledger.recorder.rows(stream, None, None, desc=False, limit=None)
            content.update(row.index for row in history)
            rows.extend(history)
        rows.sort(key=lambda row: row.index)
        with self._pool.connection() as connection:
            evidence = self._cosignatures.evidence(connection, rows[-1].index + 1)
            size, nodes = evidence.size, Nodes(connection, evidence.size)
            proofs = tuple(
                Proof(index=row.index, hashes=tuple(inclusion_proof(row.index, size, nodes))) for row in rows
            )
        return write(
            Bundle(
                manifest=Manifest(
                    origin=self._origin, case=case, revision=access.case.revision, exported_at=request.now
                ),
                checkpoint=evidence.note,
                entries=tuple(row.envelope() for row in rows),
                proofs=proofs,
                openings=tuple(self._disclosures(rows, content)),
                time_stamps=tuple(TimeStamp(rfc3161=each) for each in evidence.time_stamps),
            )
        )

    def _disclosures(self, rows: list[EntryRow], content: set[int]) -> list[Disclosure]:
        return [
            Disclosure(index=row.index, blinding=opening.blinding, payload=opening.payload)
            for row in rows
            if row.index in content and (opening := self._ledger.events.reader.opening_at(row)) is not None
        ]
