"""The checkpoints of a log that is verified: the one up to which it is, and those of which it has to be a continuation.

Their signatures are judged by the log's keys; their roots are held against the entries once these were scanned.
"""

from collections.abc import Mapping

from domain.errors import WrongKey
from domain.ledger import checkpoint
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.cosignature_policy import Policy
from domain.ledger.cosignature_verify import Support, support
from domain.ledger.encoding import MAX_INTEGER
from domain.ledger.note import Note, VerifierKey
from domain.ledger.verify_log_keys import LogKeys
from domain.ledger.verify_segment import EntryFailed


class LogCheckpoints:
    """The checkpoints of one log, judged by keys whose histories were read."""

    def __init__(self, keys: LogKeys) -> None:
        self._keys = keys
        self.claimed: Checkpoint | None = None
        """The one up to which the log is verified, once its signatures were found good."""
        self.committed_at: int | None = None
        """When it was signed, microseconds UTC."""
        self.support = Support()
        self.earlier: dict[str, Checkpoint] = {}
        """Checkpoints of which this log has to be a continuation, by the check that asks for it."""

    def read(self, note: bytes, policy: Policy | None) -> int | None:
        """The log's signatures of its newest tree, and its witnesses' where a policy asks for them; how many hold.

        Raises:
            CaseLedgerError: they do not hold, or nothing is signed.
        """
        claimed, verified, committed_at_s = self._opened(note, *self._post_quantum_of(note))
        if claimed.size == 0:
            raise WrongKey("the log is empty: there is nothing to verify")
        self.support = support(note, verified, policy, (), None)
        self.claimed = claimed
        if committed_at_s is not None and committed_at_s * 1_000_000 < MAX_INTEGER:
            self.committed_at = committed_at_s * 1_000_000
        return None if self._keys.given is None else verified

    def read_earlier(self, check: str, note: bytes, *post_quantum: VerifierKey) -> None:
        """A checkpoint of fewer entries, or as many; what it says of them is compared later.

        Raises:
            EntryFailed, CaseLedgerError: it is of another log, of more entries, or not signed.
        """
        origins = self._keys.origins
        claimed = checkpoint.read_unverified(note)
        restored = next((each for each in origins.successions if each.old == claimed.origin), None)
        if restored is not None and claimed.size > restored.index:
            what = f"entries {restored.index} to {claimed.size - 1} of {claimed.origin} are lost"
            raise EntryFailed(check, f"the log was restored to size {restored.index} since: {what}")
        earlier, _, _ = self._opened(note, *post_quantum)
        if self.claimed is None or (restored is None and earlier.origin != self.claimed.origin):
            raise EntryFailed(check, "it is of another log")
        if earlier.size > self.claimed.size:
            raise EntryFailed(check, f"the log had {earlier.size} entries then, and has {self.claimed.size} now")
        self.earlier[check] = earlier

    def read_post_quantum(self, note: bytes, separate: bytes | None) -> None:
        """Either the checkpoint itself has the line, or a separate one of no more entries.

        Raises:
            EntryFailed, CaseLedgerError: neither has it, or it does not hold.
        """
        chosen = note if separate is None or self._post_quantum_of(note) else separate
        keys = self._post_quantum_of(chosen)
        if not keys:
            raise EntryFailed("post-quantum", "there is no checkpoint that the log's post-quantum key signed")
        self.read_earlier("post-quantum", chosen, *keys)

    def compare(self, check: str, roots: Mapping[int, bytes]) -> int | None:
        """Hold an earlier checkpoint against the roots that the entries give, by size; None where there is none.

        Raises:
            EntryFailed: it was signed for other entries.
        """
        earlier = self.earlier.get(check)
        if earlier is None:
            return None
        if earlier.size and roots.get(earlier.size) != earlier.root:
            raise EntryFailed(check, f"the first {earlier.size} entries are others than it was signed for")
        return earlier.size

    def _opened(self, note: bytes, *post_quantum: VerifierKey) -> tuple[Checkpoint, int, int | None]:
        """A checkpoint, how many of the log's signatures hold, and the signed time in seconds.

        Where a post-quantum key is given, its signature is required, too.
        """
        claimed, given = checkpoint.read_unverified(note), self._keys.given
        if given is None:
            return claimed, 0, None
        keys = self._keys.ledger.earlier.get(claimed.origin, ())
        if claimed.origin == given.origin:
            keys = self._keys.ledger.checkpoint
        elif not keys:
            message = f"this is a checkpoint of the log {claimed.origin}, not of {given.origin}"
            if any(given.of(each.old) is not None for each in self._keys.origins.successions):
                message += (
                    "; it took the place of that one after a restore, by its own word: its own keys are needed, too"
                )
            raise WrongKey(message)
        fitting = [key.public_key for key in keys if key.signs_tree(claimed.size)]
        known = [each for public in fitting for each in checkpoint.verifier_keys(claimed.origin, public)]
        signed = checkpoint.open_checkpoint(note, [*known, *post_quantum])
        return signed.checkpoint, len(signed.verified), signed.committed_at_s

    def _post_quantum_of(self, note: bytes) -> tuple[VerifierKey, ...]:
        """The log's post-quantum keys where one of them signed this note; whether that holds is not judged here."""
        keys = () if self._keys.given is None else self._keys.given.post_quantum
        lines = {(line.name, line.key_hash) for line in Note.parse(note).signatures}
        return keys if any((key.name, key.key_hash) in lines for key in keys) else ()
