"""The witness: what is cosigned, what is refused, what a kill leaves, and how a split is found."""

import multiprocessing
import random
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from caseledger.outgoing import sender
from caseledger.witness import keeper, state
from caseledger.witness.keeper import Witness
from domain.errors import IntegrityFailure, Misconfigured
from domain.ledger import checkpoint as checkpoints
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.cosignature import extended, parse_lines, released
from domain.ledger.cosignature_policy import parse_policy
from domain.ledger.cosignature_split import find_split
from domain.ledger.cosignature_witness import MAX_REQUEST_BYTES, SIZE_TYPE, AddCheckpoint
from domain.ledger.note import ED25519, Note, VerifierKey, verify
from tests.witness_fixture import NAME, ORIGIN, Log, made, served
from tests.witness_killed import asked_and_killed


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """`caseledger witness serve` as a program of its own: its URL and directory."""
    with served(tmp_path) as found:
        yield found


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """A witness that knows the log."""
    return made(tmp_path / "w", NAME, *Log().keys[:1])


def test_a_checkpoint_is_cosigned_with_both_keys_and_shown(witness: Witness) -> None:
    """The answer's lines hold under the checkpoint, and the witness shows it with them and the log's own line."""
    log = Log()
    answer = witness.add_checkpoint(log.request(0, 5))
    assert answer.status == 200
    lines = parse_lines(answer.body)
    text = Note.parse(log.note(5)).text
    assert verify(Note(text, lines), witness.keys()) == list(witness.keys())
    shown = witness.checkpoint(state.origin_hash(ORIGIN))
    assert shown is not None
    assert verify(Note.parse(shown), [log.keys[0], *witness.keys()]) == [log.keys[0], *witness.keys()]
    assert witness.add_checkpoint(log.request(5, 9)).status == 200
    assert witness.add_checkpoint(log.request(9, 9)).status == 200


def test_each_refusal_has_the_status_of_the_protocol(witness: Witness) -> None:
    """404, 403, 400, 409 with the size, 422: as C2SP tlog-witness says; and none of them changes what is on record."""
    log = Log()
    assert witness.add_checkpoint(log.request(0, 5)).status == 200
    before = witness.checkpoint(state.origin_hash(ORIGIN))
    good = log.note(7)
    proof = log.proof(5, 7)
    tampered = good.replace(b"\n7\n", b"\n8\n")
    empty = b"o\n0\n" + b"A" * 43 + b"=\n"
    expected: list[tuple[bytes, int]] = [
        (Log(1, "other.example").request(0, 5), 404),
        (Log(2).request(5, 7), 403),
        (AddCheckpoint(5, proof, tampered).render(), 403),
        (AddCheckpoint(8, (), good).render(), 400),
        (AddCheckpoint(0, (), good).render(), 409),
        (AddCheckpoint(3, log.proof(3, 7), good).render(), 409),
        (AddCheckpoint(5, (), good).render(), 422),
        (AddCheckpoint(5, (*proof, bytes(32)), good).render(), 422),
        (log.request(5, 7, "evil"), 422),
        (log.request(5, 5, "evil"), 422),
        (b"", 400),
        (b"old 5\n\n", 400),
        (b"old 05\n\n" + good, 400),
        (b"old 5\nAAAA\n\n" + good, 400),
        (b"old 5\n\n" + empty + b"\n", 400),
        (b"old 5\n" + b"A" * 43 + b"=\n" + b"\n" + good[:-1], 400),
        (AddCheckpoint(5, (bytes(32),) * 64, good).render(), 400),
        (b"x" * (MAX_REQUEST_BYTES + 1), 400),
    ]
    for request, status in expected:
        answer = witness.add_checkpoint(request)
        assert answer.status == status, (request[:60], answer)
        if status == 409:
            assert (answer.body, answer.content_type) == (b"5\n", SIZE_TYPE)
    assert witness.checkpoint(state.origin_hash(ORIGIN)) == before
    assert witness.add_checkpoint(log.request(5, 7)).status == 200


def test_garbled_requests_are_answered_and_cosign_nothing_else(witness: Witness) -> None:
    """Thousands of damaged requests end in a status of the protocol; what is on record stays the honest history."""
    log, chance, statuses = Log(), random.Random(6), dict[int, int]()
    assert witness.add_checkpoint(log.request(0, 5)).status == 200
    honest = {size: log.note(size) for size in (5, 9)}
    request = log.request(5, 9)
    for _ in range(4000):
        raw = bytearray(request)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(raw))
            match chance.randrange(4):
                case 0:
                    raw[at] = chance.randrange(256)
                case 1:
                    del raw[at : at + chance.randint(1, 40)]
                case 2:
                    raw[at:at] = chance.choice((b"\n", b"\n\n", b"\0", b"\xff", b"old 5\n", b"9" * 20))
                case 3:
                    raw[at:at] = raw[at : at + chance.randint(1, 80)]
        status = witness.add_checkpoint(bytes(raw)).status
        statuses[status] = statuses.get(status, 0) + 1
    assert set(statuses) <= {200, 400, 403, 404, 409, 422}
    assert sum(statuses.values()) == 4000
    assert statuses[400] > 1000
    shown = witness.checkpoint(state.origin_hash(ORIGIN))
    assert shown is not None
    assert Note.parse(shown).text in {Note.parse(note).text for note in honest.values()}


def test_an_old_size_above_the_known_one_and_an_empty_tree_have_their_answers(witness: Witness) -> None:
    """Nothing is proven from the empty tree, whose root is fixed; a witness that knows nothing says 0."""
    log = Log()
    answer = witness.add_checkpoint(log.request(3, 5))
    assert (answer.status, answer.body) == (409, b"0\n")
    assert witness.add_checkpoint(AddCheckpoint(0, (bytes(32),), log.note(5)).render()).status == 422
    text = f"{ORIGIN}\n0\n{'A' * 43}=\n"
    wrong = checkpoints.sign_ed25519(text, ORIGIN, log.key)
    assert witness.add_checkpoint(AddCheckpoint(0, (), Note(text, (wrong,)).render()).render()).status == 422
    assert witness.add_checkpoint(log.request(0, 0)).status == 200
    assert witness.add_checkpoint(log.request(0, 4)).status == 200


def test_a_fork_is_kept_as_evidence(witness: Witness, tmp_path: Path) -> None:
    """Two roots of one size, both with the log's signature, are refused, and the two notes convict the log."""
    log = Log()
    assert witness.add_checkpoint(log.request(0, 5)).status == 200
    assert witness.add_checkpoint(log.request(5, 5, "evil")).status == 422
    kept = [path.read_bytes() for path in (tmp_path / "w/forks" / state.origin_hash(ORIGIN)).iterdir()]
    split = find_split(kept, log.keys[:1])
    assert split is not None
    assert (split.origin, split.size) == (ORIGIN, 5)
    for number in range(30):
        witness.add_checkpoint(log.request(5, 5, f"evil {number}"))
    assert len(list((tmp_path / "w/forks" / state.origin_hash(ORIGIN)).iterdir())) <= state.MAX_FORKS


def test_a_damaged_state_cosigns_nothing(witness: Witness, tmp_path: Path) -> None:
    """A record that the witness did not write is an error, and not a reason to begin anew."""
    log = Log()
    assert witness.add_checkpoint(log.request(0, 5)).status == 200
    path = tmp_path / "w/latest" / f"{state.origin_hash(ORIGIN)}.note"
    path.write_bytes(log.note(3))
    with pytest.raises(IntegrityFailure):
        witness.add_checkpoint(log.request(3, 5))


def test_concurrent_requests_never_cosign_two_trees_of_a_size(witness: Witness, tmp_path: Path) -> None:
    """Of many at once with two histories, one history wins and the other is refused throughout."""
    from concurrent.futures import ThreadPoolExecutor

    log = Log()
    others = [Witness(tmp_path / "w") for _ in range(3)]

    def ask(number: int) -> tuple[str, int]:
        branch = "" if number % 2 else "evil"
        return branch, others[number % 3].add_checkpoint(log.request(0, 5 + number, branch)).status

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(24)))
    assert [status for _, status in answers].count(200) == 1
    assert {status for _, status in answers} == {200, 409}


def test_a_witness_killed_at_any_step_never_cosigns_a_fork(tmp_path: Path) -> None:
    """Killed before and after every system call of a request, it is at the old or the new tree, and only forwards."""
    log = Log()
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.witness_killed"])
    killed = ended = 0
    for after in (False, True):
        for at in range(1, 40):
            directory, told = tmp_path / f"w-{after}-{at}", tmp_path / f"told-{after}-{at}"
            witness = made(directory, NAME, log.keys[0])
            assert witness.add_checkpoint(log.request(0, 3)).status == 200
            arguments = (str(directory), log.request(3, 5), at, after, str(told))
            process = processes.Process(target=asked_and_killed, args=arguments)
            process.start()
            process.join(20)
            if process.exitcode == 0:
                ended += 1
                assert told.exists()
                break
            killed += 1
            assert process.exitcode == -signal.SIGKILL
            # What it may have said: only the honest history. The other one of the same size is refused from both sides.
            again = Witness(directory)
            shown = again.checkpoint(state.origin_hash(ORIGIN))
            assert shown is not None
            size = Checkpoint.parse(Note.parse(shown).text).size
            assert size in (3, 5)
            assert not told.exists() or size == 5
            assert again.add_checkpoint(log.request(size, 5, "evil")).status == 422
            assert again.add_checkpoint(log.request(size, 5)).status == 200
    assert ended == 2
    assert killed >= 16


def test_the_directory_of_a_witness_is_held_to_its_shape(tmp_path: Path) -> None:
    """A second `init`, a name that is none, an open key file, the witness itself or a key of entries as a log: no."""
    witness = made(tmp_path / "w", NAME)
    with pytest.raises(Misconfigured, match="already"):
        keeper.make(tmp_path / "w", NAME)
    with pytest.raises(Misconfigured, match="name"):
        keeper.make(tmp_path / "v", "a name")
    with pytest.raises(Misconfigured, match="no witness"):
        Witness(tmp_path / "v")
    with pytest.raises(Misconfigured, match="own name"):
        keeper.add_log(tmp_path / "w", str(witness.keys()[0]))
    entries = VerifierKey.make(f"{ORIGIN}/entries", ED25519, Log().keys[0].public_key)
    with pytest.raises(Misconfigured, match="key of a log's entries"):
        keeper.add_log(tmp_path / "w", str(entries))
    assert witness.logs() == {}
    assert ((tmp_path / "w/keys/ed25519").stat().st_mode & 0o777) == 0o600
    (tmp_path / "w/keys/ed25519").chmod(0o640)
    with pytest.raises(Misconfigured, match="open to others"):
        Witness(tmp_path / "w")


def test_over_http_the_protocol_is_spoken(service: tuple[str, Path]) -> None:
    """Statuses and media types arrive as the protocol says, a body above the bound is refused, a log is added live."""
    url, directory = service
    log = Log()
    send = sender(10.0)
    assert send(f"{url}/add-checkpoint", log.request(0, 5), "text/plain").status == 404
    keeper.add_log(directory, str(log.keys[0]))
    assert send(f"{url}/{state.origin_hash(ORIGIN)}/checkpoint", None, "").status == 404
    assert send(f"{url}/add-checkpoint", log.request(0, 5), "text/plain").status == 200
    conflict = send(f"{url}/add-checkpoint", log.request(0, 7), "text/plain")
    assert (conflict.status, conflict.media_type, conflict.body) == (409, SIZE_TYPE, b"5\n")
    assert send(f"{url}/add-checkpoint", b"x" * (MAX_REQUEST_BYTES + 1), "text/plain").status == 413
    shown = send(f"{url}/{state.origin_hash(ORIGIN)}/checkpoint", None, "")
    assert (shown.status, released(shown.body) != b"") == (200, True)
    assert send(f"{url}/{'A' * 64}/checkpoint", None, "").status == 404
    with httpx.Client() as client:
        assert client.get(f"{url}/add-checkpoint").status_code == 405


def test_a_split_view_shown_to_two_witnesses_is_detected(tmp_path: Path) -> None:
    """A log that signs two histories gets each past one witness; whoever compares the two cosigned notes has it."""
    log = Log()
    one, two = (made(tmp_path / name, f"{name}.example", log.keys[0]) for name in ("one", "two"))
    for witness, branch in ((one, "left"), (two, "right")):
        assert witness.add_checkpoint(log.request(0, 4, branch, 3)).status == 200
        assert witness.add_checkpoint(log.request(4, 9, branch, 3)).status == 200
    place = sha256(ORIGIN.encode()).hexdigest()
    shown = [note for witness in (one, two) if (note := witness.checkpoint(place)) is not None]
    split = find_split(shown, log.keys[:1])
    assert split is not None
    assert (split.origin, split.size, {split.one, split.other}) == (ORIGIN, 9, set(shown))
    # And neither witness can be brought over to the other history, so no note with both of them exists.
    for witness, branch in ((one, "right"), (two, "left")):
        assert witness.add_checkpoint(log.request(9, 12, branch, 3)).status == 422
    policy = parse_policy(
        f"witness one {one.keys()[0]}\nwitness two {two.keys()[0]}\ngroup g all one two\nquorum g".encode()
    )
    for note in shown:
        assert not policy.satisfied(verify(Note.parse(note), (*log.keys, *policy.cosigners())))
    honest = [extended(log.note(9), parse_lines(one.add_checkpoint(log.request(9, 9, "left", 3)).body))]
    assert find_split([shown[0], *honest[:0]], log.keys) is None
