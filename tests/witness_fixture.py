"""Logs that sign what they are told, witnesses, and a real ledger that three of them watch."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.witness import post_quantum
from application.witness.cosignatures import Cosignatures
from application.witness.witnessing import Reply, Witnessing
from caseledger.witness import keeper
from caseledger.witness.keeper import Witness
from domain.errors import Unavailable
from domain.ledger import checkpoint as checkpoints
from domain.ledger.checkpoint import Checkpoint, verifier_keys
from domain.ledger.cosignature_policy import parse_policy
from domain.ledger.cosignature_witness import AddCheckpoint
from domain.ledger.note import VerifierKey
from domain.ledger.tree import Frontier, consistency_proof, leaf_hash, node_hash
from tests.ledger_fixture import OpenLedger

ORIGIN = "log.example/l"
TIME = 1_700_000_000_000_000
NAME = "witness.example/w"


class Log:
    """A log that signs whatever it is told to: `branch` tells its histories apart from leaf `fork` on."""

    def __init__(self, seed: int = 1, origin: str = ORIGIN) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.origin = origin
        self.keys = verifier_keys(origin, self.key.public_key().public_bytes_raw())

    def leaves(self, size: int, branch: str = "", fork: int = 0) -> list[bytes]:
        """Leaf hashes of a history."""
        return [leaf_hash(f"{branch if at >= fork else ''}{at}".encode()) for at in range(size)]

    def note(self, size: int, branch: str = "", fork: int = 0) -> bytes:
        """The signed checkpoint of a history."""
        root = Frontier().extend(self.leaves(size, branch, fork)).root()
        return checkpoints.sign(Checkpoint(self.origin, size, root), self.key, TIME)

    def proof(self, old: int, new: int, branch: str = "", fork: int = 0) -> tuple[bytes, ...]:
        """The consistency proof between two sizes of a history."""
        leaves = self.leaves(new, branch, fork)

        def node(level: int, index: int) -> bytes:
            if level == 0:
                return leaves[index]
            return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

        return tuple(consistency_proof(old, new, node)) if 0 < old < new else ()

    def request(self, old: int, new: int, branch: str = "", fork: int = 0) -> bytes:
        """A request to cosign."""
        return AddCheckpoint(old, self.proof(old, new, branch, fork), self.note(new, branch, fork)).render()


def made(directory: Path, name: str, *logs: VerifierKey) -> Witness:
    """A new witness that knows some logs."""
    keeper.make(directory, name)
    for key in logs:
        keeper.add_log(directory, str(key))
    return Witness(directory)


@contextmanager
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """`caseledger witness serve` as a program of its own: its URL and directory."""
    directory = tmp_path / "served"
    program = [sys.executable, "-m", "caseledger.cli", "witness"]
    subprocess.run([*program, "init", str(directory), "--name", NAME], check=True, capture_output=True, timeout=60)
    process = subprocess.Popen([*program, "serve", str(directory), "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        yield ready.split()[-1], directory
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


class Net:
    """Witnesses by URL, without a network: what is sent is kept, and any of them may be away."""

    def __init__(self, **witnesses: Witness) -> None:
        self.witnesses = {f"http://{name}": witness for name, witness in witnesses.items()}
        self.away: set[str] = set()
        self.sent: list[tuple[str, bytes | None]] = []
        self.answer: Callable[[str, bytes | None], Reply | None] = lambda url, body: None

    def send(self, url: str, body: bytes | None, media_type: str) -> Reply:
        """What `witnessing.Send` is."""
        self.sent.append((url, body))
        prefix = next(each for each in self.witnesses if url.startswith(f"{each}/"))
        if (special := self.answer(url, body)) is not None:
            return special
        if prefix in self.away:
            raise Unavailable("no answer")
        witness = self.witnesses[prefix]
        if body is None:
            note = witness.checkpoint(url.removeprefix(f"{prefix}/").partition("/")[0])
            return Reply(404, "", b"") if note is None else Reply(200, "", note)
        answer = witness.add_checkpoint(body)
        return Reply(answer.status, answer.content_type, answer.body)

    def posts(self, name: str) -> int:
        """How many checkpoints were sent to one."""
        return sum(url == f"http://{name}/add-checkpoint" for url, _ in self.sent)


class Watched:
    """A real ledger with three witnesses of which two are a quorum."""

    def __init__(self, one: OpenLedger, data: Path, folder: Path) -> None:
        self.one = one
        self.places = {name: made(folder / name, f"{name}.example", one.keys.checkpoint_verifier()) for name in "abc"}
        lines = [f"witness {name} {each.keys()[0]} http://{name}" for name, each in self.places.items()]
        lines += [f"witness {name}-pq {each.keys()[1]} http://{name}" for name, each in self.places.items()]
        lines += [f"group {name}-any any {name} {name}-pq" for name in self.places]
        lines += ["group two 2 a-any b-any c-any", "quorum two"]
        self.policy = parse_policy("\n".join(lines).encode())
        self.net = Net(**self.places)
        self.quantum = post_quantum.load(data, one.keys.origin)
        self.store = Cosignatures(one.checkpoints, self.quantum, self.policy)
        self.client = Witnessing(one.pool, self.store, one.keys.origin, one.verifiers, self.net.send, period_s=60.0)

    def grow(self, name: str) -> int:
        """One more entry; the log's size."""
        self.one.add(f"case-{name}")
        with self.one.pool.connection() as connection:
            return self.one.checkpoints.latest(connection)[0]

    def latest(self) -> bytes:
        """The newest checkpoint as it is served."""
        with self.one.pool.connection() as connection:
            return self.store.latest(connection)[1]

    def keys(self) -> list[VerifierKey]:
        """Keys of the log, its post-quantum one, and all witnesses'."""
        return [*self.one.verifiers(), self.quantum.verifier(), *self.policy.cosigners()]

    def problems(self) -> dict[str, str | None]:
        """What each witness's place says, by its first name."""
        return {each.name.partition(",")[0]: each.problem for each in self.client.standpoints()}
