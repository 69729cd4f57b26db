"""The client of witnesses: rounds, quorums, witnesses that are away, wrong, or of another history."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from application.ledger.keylock import PLAIN, Passphrase, is_locked
from application.ledger.nodes import store_full_tiles
from application.witness import post_quantum, witnessing
from application.witness.cosignatures import Cosignatures
from application.witness.rounds import Rounds
from application.witness.witnessing import Reply, Witnessing
from caseledger.outgoing import sender
from caseledger.witness import keeper
from caseledger.witness.keeper import Witness
from domain.errors import EntryNotFound, Misconfigured, SplitView, Unavailable
from domain.ledger import checkpoint as checkpoints
from domain.ledger.checkpoint import Checkpoint, open_checkpoint, verifier_keys
from domain.ledger.cosignature import released
from domain.ledger.cosignature_mldsa import ML_DSA_44
from domain.ledger.cosignature_witness import SIZE_TYPE, AddCheckpoint
from domain.ledger.note import Note, NoteSignature
from domain.ledger.verify_trust import parse_trusted_keys
from tests.conftest import Database
from tests.ledger_fixture import open_ledger
from tests.witness_fixture import ORIGIN, TIME, Watched, served


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """`caseledger witness serve` as a program of its own: its URL and directory."""
    with served(tmp_path) as found:
        yield found


@pytest.fixture
def watched(database: Database, tmp_path: Path) -> Iterator[Watched]:
    """A log with three witnesses, and one entry."""
    with open_ledger(database, tmp_path / "data") as one:
        found = Watched(one, tmp_path / "data", tmp_path)
        found.grow("first")
        yield found


def _serve_once(content: bytes, *, drip_s: float = 0.0) -> tuple[str, threading.Thread]:
    """A server for one request that answers with these bytes, one at a time where it drips; its URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listening, listening.accept()[0] as peer:
            peer.recv(65_536)
            pieces = [content] if not drip_s else [content[at : at + 1] for at in range(len(content))]
            try:
                for piece in pieces:
                    peer.sendall(piece)
                    time.sleep(drip_s)
            except OSError:
                return

    thread = threading.Thread(target=answer)
    thread.start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/x", thread


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def test_an_answer_is_bounded_in_size_and_in_time() -> None:
    """Too much, too slow, cut off, no HTTP, nobody there: `Unavailable`, within the time; a good one is read."""
    for content, drip_s in (
        (HEAD % 2_000_000 + bytes(2_000_000), 0.0),
        (HEAD % 50 + bytes(50), 0.05),
        (HEAD % 50 + bytes(20), 0.0),
        (b"nonsense\r\n\r\n", 0.0),
    ):
        url, thread = _serve_once(content, drip_s=drip_s)
        started = time.monotonic()
        with pytest.raises(Unavailable):
            sender(1.0)(url, b"x", "text/plain")
        assert time.monotonic() - started < 5
        thread.join(20)
    with pytest.raises(Unavailable):
        sender(1.0)(url, None, "")
    url, thread = _serve_once(HEAD % 2 + b"ok")
    assert sender(1.0)(url, b"x", "text/plain").body == b"ok"
    thread.join(20)


def test_a_round_puts_every_witness_and_the_post_quantum_line_on_the_newest_checkpoint(watched: Watched) -> None:
    """The served note carries all of them, verifies with all keys, and is the released note with lines at its end."""
    with watched.one.pool.connection() as connection:
        plain = watched.one.checkpoints.latest(connection)[1]
        with pytest.raises(EntryNotFound):
            watched.store.quorate_note(connection)
    watched.client.round()
    note = watched.latest()
    assert set(open_checkpoint(note, watched.keys()).verified) == set(watched.keys())
    assert released(note) == plain
    with watched.one.pool.connection() as connection:
        assert watched.store.quorate_note(connection) == note
        standing = watched.store.standing(connection)
    assert (standing.size, standing.cosigned) == (1, 1)
    assert standing.cosigned_at_s is not None
    assert abs(standing.cosigned_at_s - time.time()) < 60
    assert watched.problems() == {"a": None, "b": None, "c": None}
    assert {each.failures for each in watched.client.standpoints()} == {0}


def test_only_what_has_grown_is_shown_again(watched: Watched) -> None:
    """A round over the same tree sends nothing; the next over a larger one sends a proof from the size before."""
    watched.client.round()
    watched.client.round()
    assert watched.net.posts("a") == 1
    for number in range(6):
        size = watched.grow(f"more-{number}")
    watched.client.round()
    assert watched.net.posts("a") == 2
    sent = next(body for url, body in reversed(watched.net.sent) if url == "http://a/add-checkpoint")
    assert sent is not None
    assert sent.startswith(b"old 1\n")
    with watched.one.pool.connection() as connection:
        assert watched.store.quorate(connection)[0] == size  # type: ignore[index]


def test_a_large_log_is_proven_from_its_tiles(watched: Watched) -> None:
    """Across the edge of a full tile the proof leads from the witness's tree to ours."""
    watched.client.round()
    after: tuple[int, str | None] = (0, None)
    for _ in range(300):
        recording = watched.one.add("case-long", after=after)[0]
        after = (recording.domain_event.originator_version, recording.receipt.leaf)
    with watched.one.pool.connection() as connection:
        store_full_tiles(connection, 256)
    watched.client.round()
    assert watched.problems() == {"a": None, "b": None, "c": None}
    open_checkpoint(watched.latest(), watched.keys())


def test_a_witness_that_is_away_holds_up_nobody_and_is_left_alone_for_longer_each_time(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appends go on, two others still are a quorum; it is asked again only after its pause, and catches up then."""
    clock = [1000.0]
    monkeypatch.setattr(witnessing.time, "monotonic", lambda: clock[0])
    watched.net.away = {"http://c"}
    pauses = []
    for number in range(4):
        size = watched.grow(f"away-{number}")
        watched.client.round()
        at = watched.client.standpoints()[2]
        assert (at.problem, at.failures) == ("away", number + 1)
        posts = watched.net.posts("c")
        watched.client.round()
        assert watched.net.posts("c") == posts
        pauses.append(at.retry_at - clock[0])
        clock[0] = at.retry_at
    assert pauses == [60.0, 120.0, 240.0, 480.0]
    with watched.one.pool.connection() as connection:
        assert watched.store.quorate(connection)[0] == size  # type: ignore[index]
    watched.net.away = set()
    watched.client.round()
    assert watched.problems()["c"] is None
    open_checkpoint(watched.latest(), watched.keys())


def test_without_a_quorum_the_newest_quorate_checkpoint_is_the_older_one(watched: Watched) -> None:
    """One of three is not enough: the newest checkpoint is served, and the quorate one stays where it was."""
    watched.client.round()
    quorate = watched.latest()
    watched.net.away = {"http://b", "http://c"}
    assert watched.grow("lonely") == 2
    watched.client.round()
    with watched.one.pool.connection() as connection:
        assert watched.store.quorate_note(connection) == quorate
        assert watched.store.latest(connection)[0] == 2
        # A case whose entries reach beyond is proven against the newest, with what there is.
        assert watched.store.evidence(connection, 1).size == 1
        assert watched.store.evidence(connection, 2).size == 2
        with pytest.raises(EntryNotFound):
            watched.store.evidence(connection, 3)


def test_a_witness_that_is_further_on_is_sent_a_proof_from_its_own_size(watched: Watched) -> None:
    """What the database forgot of its witnesses, a 409 tells; the round then goes on from there."""
    for number in range(4):
        size = watched.grow(f"entry-{number}")
    with watched.one.pool.connection() as connection:
        note = watched.one.checkpoints.latest(connection)[1]
    a = watched.places["a"]
    assert a.add_checkpoint(AddCheckpoint(0, (), note).render()).status == 200
    assert watched.grow("later") == size + 1
    watched.client.round()
    assert watched.net.posts("a") == 2
    assert watched.problems()["a"] is None


def test_a_database_that_went_back_is_found_out_by_its_witnesses(watched: Watched) -> None:
    """A witness that holds a larger tree, signed by our key, than we do: named, and never overwritten."""
    forged = Checkpoint(watched.one.keys.origin, 7, bytes(32))
    note = checkpoints.sign(forged, watched.one.keys.checkpoint, TIME)
    for name in "ab":
        assert watched.places[name].add_checkpoint(AddCheckpoint(0, (), note).render()).status == 200
    watched.client.round()
    assert watched.problems() == {"a": "split", "b": "split", "c": None}
    with pytest.raises(SplitView):
        watched.client.examine("http://a", watched.places["a"].keys())
    assert watched.client.examine("http://c", watched.places["c"].keys()) is not None


def test_a_witness_that_refuses_the_proof_is_examined(watched: Watched) -> None:
    """Another history of a size that we passed leads to 422, and what it shows convicts whoever holds our key."""
    forged = checkpoints.sign(Checkpoint(watched.one.keys.origin, 1, bytes(32)), watched.one.keys.checkpoint, TIME)
    assert watched.places["a"].add_checkpoint(AddCheckpoint(0, (), forged).render()).status == 200
    watched.grow("second")
    watched.client.round()
    assert watched.problems() == {"a": "split", "b": None, "c": None}


def test_a_witness_whose_key_the_log_revoked_is_not_asked_and_does_not_count(watched: Watched) -> None:
    """Of three one is revoked: the quorum of two takes both of the others, and nothing is sent to it."""
    gone = watched.places["a"].keys()
    client = Witnessing(
        watched.one.pool, watched.store, watched.one.keys.origin, watched.one.verifiers, watched.net.send,
        revoked=lambda: gone,
    )  # fmt: skip
    watched.client.round()
    size = watched.grow("second")
    watched.net.sent.clear()
    watched.net.away = {"http://b"}
    client.round()
    assert watched.net.posts("a") == 0
    assert watched.net.posts("c") == 1
    with watched.one.pool.connection() as connection:
        found = watched.store.quorate(connection)
    assert found is not None
    assert found[0] == size - 1


def _other(status: int, media: str = "text/plain", body: bytes = b"") -> Reply:
    return Reply(status, media, body)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (_other(404), "refused"),
        (_other(403), "refused"),
        (_other(400), "refused"),
        (_other(422), "refused"),
        (_other(301), "refused"),
        (_other(500), "away"),
        (_other(429), "away"),
        (_other(409, SIZE_TYPE, b"0\n"), "refused"),
        (_other(409, SIZE_TYPE, b"99\n"), "ahead"),
        (_other(409, SIZE_TYPE, b"x\n"), "malformed"),
        (_other(409, SIZE_TYPE, b"1" * 30 + b"\n"), "malformed"),
        (_other(409, "text/html", b"0\n"), "malformed"),
        (_other(200, body=b""), "malformed"),
        (_other(200, body=b"hello\n"), "malformed"),
        (_other(200, body=b"\xff\n"), "malformed"),
        (_other(200, body=NoteSignature("stranger.example", bytes(4), bytes(72)).line().encode()), "malformed"),
    ],
)
def test_whatever_a_witness_answers_is_named_and_stored_only_if_it_holds(
    watched: Watched, reply: Reply, problem: str
) -> None:
    """Every status, a conflict that leads nowhere, and bodies that are none end in a word for it, and no line."""
    watched.net.answer = lambda url, body: (
        reply if url == "http://a/add-checkpoint" else (Reply(404, "", b"") if body is None else None)
    )
    watched.client.round()
    assert watched.problems() == {"a": problem, "b": None, "c": None}
    names = {line.name for line in Note.parse(watched.latest()).signatures}
    assert names == {watched.one.keys.origin, "b.example", "c.example"}


def test_a_bad_line_of_a_known_witness_is_not_stored(watched: Watched) -> None:
    """A cosignature of another tree under the right name would spoil the whole note for every reader."""
    with watched.one.pool.connection() as connection:
        note = watched.one.checkpoints.latest(connection)[1]
    answer = watched.places["a"].add_checkpoint(AddCheckpoint(0, (), note).render())
    watched.grow("second")
    watched.net.answer = lambda url, body: Reply(200, "", answer.body) if url.startswith("http://a/add") else None
    watched.client.round()
    assert watched.problems()["a"] == "malformed"
    open_checkpoint(watched.latest(), watched.keys())


def test_a_post_quantum_key_that_was_lost_is_not_replaced_in_silence(watched: Watched, tmp_path: Path) -> None:
    """After it has signed once, another key of that name stops the start."""
    with watched.one.pool.connection() as connection:
        watched.store.check(connection)
    watched.client.round()
    with watched.one.pool.connection() as connection:
        watched.store.check(connection)
        (tmp_path / "data/keys/checkpoint-mldsa").unlink()
        other = post_quantum.load(tmp_path / "data", watched.one.keys.origin)
        with pytest.raises(Misconfigured, match="not the one"):
            Cosignatures(watched.one.checkpoints, other, None).check(connection)
    assert (tmp_path / "data/keys/checkpoint-mldsa").stat().st_mode & 0o777 == 0o600
    assert other.verifier().algorithm == ML_DSA_44


def test_the_post_quantum_key_is_locked_like_the_others(tmp_path: Path) -> None:
    """With a passphrase a plain file is locked, opens again to the same key, and to no other passphrase."""
    (tmp_path / "keys").mkdir(mode=0o700)
    plain = post_quantum.load(tmp_path, ORIGIN).verifier()
    path, locker = tmp_path / "keys/checkpoint-mldsa", Passphrase(b"a long passphrase")
    assert post_quantum.load(tmp_path, ORIGIN, locker).verifier() == plain
    assert is_locked(path.read_bytes())
    assert path.stat().st_mode & 0o777 == 0o600
    assert post_quantum.existing(tmp_path, ORIGIN, Passphrase(b"a long passphrase")) == (plain,)
    for wrong in (Passphrase(b"another passphrase"), PLAIN):
        with pytest.raises(Misconfigured):
            post_quantum.load(tmp_path, ORIGIN, wrong)
    assert [each.name for each in (tmp_path / "keys").iterdir()] == ["checkpoint-mldsa"]
    path.unlink()
    assert post_quantum.existing(tmp_path, ORIGIN) == ()
    path.write_bytes(bytes(32))
    with pytest.raises(Misconfigured, match="open to others"):
        post_quantum.load(tmp_path, ORIGIN)


def test_the_thread_does_rounds_until_it_is_stopped(watched: Watched) -> None:
    """A first round at once, more on the period, and a stop that waits for the one under way."""
    rounds = Rounds(watched.client, 0.01)
    rounds.start()
    deadline = time.monotonic() + 20
    while watched.problems() != {"a": None, "b": None, "c": None} or not watched.client.standpoints()[2].size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    rounds.stop()
    assert watched.net.posts("a") == 1


def test_a_service_is_witnessed_over_http(program: tuple[str, Path], database: Database, tmp_path: Path) -> None:
    """`serve` with a policy: its checkpoint has the quorum, its keys and the policy verify it, readiness says so."""
    url, directory = program
    policy = tmp_path / "policy"
    keys = Witness(directory).keys()
    lines = (f"witness one {keys[0]} {url}/", f"witness two {keys[1]} {url}/", "group all all one two", "quorum all")
    policy.write_text("\n".join(lines))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CASELEDGER_")} | {
        "CASELEDGER_DATA": str(tmp_path / "data"),
        "CASELEDGER_DATABASE_URL": database.service_url,
        "CASELEDGER_OWNER_DATABASE_URL": database.owner_url,
        "CASELEDGER_PORT": "0",
        "CASELEDGER_WITNESSES": str(policy),
        "CASELEDGER_COSIGN_PERIOD_S": "1",
    }
    program = (sys.executable, "-m", "caseledger.cli", "serve")
    process = subprocess.Popen(program, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        service = next(word.rstrip(",") for word in line.split() if word.startswith("http://"))
        with httpx.Client(base_url=service, trust_env=False) as client:
            trusted = parse_trusted_keys(client.get("/keys.txt").content)
            assert client.get("/checkpoint", params={"witnessed": "quorum"}).status_code == 404
            keeper.add_log(directory, str(trusted.checkpoint[0]))
            deadline = time.monotonic() + 60
            while (answer := client.get("/checkpoint", params={"witnessed": "quorum"})).status_code != 200:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            own = verifier_keys(trusted.origin, trusted.checkpoint[0].public_key)
            opened = open_checkpoint(answer.content, [*own, *trusted.post_quantum, *keys])
            assert len(opened.verified) == 5
            while (ready := client.get("/ready").json())["cosignatures"] is None or not ready["cosignatures"]["size"]:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert ready["cosignatures"]["size"] == opened.checkpoint.size
            assert [each["name"] for each in ready["cosignatures"]["witnesses"]] == ["one, two"]
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
