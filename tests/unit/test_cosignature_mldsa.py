"""ML-DSA-44 cosignatures: what they cover, what verifies, what is refused; and policies and splits over them."""

import io
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from msgspec.structs import replace

from caseledger import verify_command
from domain.errors import BadPublicKey, BadSignature, HeadForked, MalformedNote, NoteSignatureInvalid
from domain.ledger import bundle
from domain.ledger import checkpoint as checkpoints
from domain.ledger.checkpoint import Checkpoint, open_checkpoint, verifier_keys
from domain.ledger.cosignature import cosignatures, extended, parse_lines, released, render_lines
from domain.ledger.cosignature_mldsa import ML_DSA_44, cosigned_message, verify_mldsa
from domain.ledger.cosignature_policy import parse_policy
from domain.ledger.cosignature_split import Split, check_extends, find_split
from domain.ledger.note import COSIGNATURE_V1, Note, NoteSignature, VerifierKey, cosign, cosign_mldsa, verify
from domain.ledger.tree import Frontier, consistency_proof, leaf_hash, node_hash
from domain.ledger.verify import verify as verify_bundle
from domain.ledger.verify_trust import parse_trusted_keys, render_trusted_keys
from tests.verifying import CONTENT, KEYS

NAME, ORIGIN = "witness.example/w", "log.example/l"
PRIVATE = MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
KEY = VerifierKey.make(NAME, ML_DSA_44, PRIVATE.public_key().public_bytes_raw())
LOG = Ed25519PrivateKey.from_private_bytes(bytes(32))
LOG_KEYS = verifier_keys(ORIGIN, LOG.public_key().public_bytes_raw())
LEAVES = [leaf_hash(bytes([each])) for each in range(5)]
CHECKPOINT = Checkpoint(ORIGIN, 5, Frontier().extend(LEAVES).root())
TIME_S = 1_700_000_000
NOTE = checkpoints.sign(CHECKPOINT, LOG, TIME_S * 1_000_000)
LINE = cosign_mldsa(CHECKPOINT.body(), NAME, PRIVATE, TIME_S)


def node(level: int, index: int) -> bytes:
    """Node of the tree of the five leaves."""
    if level == 0:
        return LEAVES[index]
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


def test_a_verifier_key_of_1312_bytes_round_trips() -> None:
    """The text of a kind 0x06 key reads back, and another length is refused."""
    assert VerifierKey.parse(str(KEY)) == KEY
    with pytest.raises(BadPublicKey):
        VerifierKey.make(NAME, ML_DSA_44, KEY.public_key[:-1])
    with pytest.raises(BadPublicKey):
        VerifierKey.make(NAME, COSIGNATURE_V1, KEY.public_key)


def test_a_cosigned_checkpoint_verifies_with_all_keys() -> None:
    """The log's two lines and a post-quantum one stand in a note, which reads back to the same bytes."""
    note = extended(NOTE, [LINE])
    assert verify(Note.parse(note), [*LOG_KEYS, KEY]) == [*LOG_KEYS, KEY]
    assert Note.parse(note).render() == note
    assert released(note) == NOTE
    assert extended(note, [LINE]) == note


@pytest.mark.parametrize("other", ["size", "root", "origin", "name", "time", "bit"])
def test_a_cosignature_covers_each_field(other: str) -> None:
    """Under another size, root, origin, name or time, or with one bit turned, it does not hold."""
    text, key, line = CHECKPOINT.body(), KEY, LINE
    if other in ("size", "root", "origin"):
        changed = {"size": (ORIGIN, 6, CHECKPOINT.root), "root": (ORIGIN, 5, bytes(32)), "origin": ("x", 5, bytes(32))}
        text = Checkpoint(*changed[other]).body()
    elif other == "name":
        key = VerifierKey.make("witness.example/other", ML_DSA_44, KEY.public_key)
        line = NoteSignature(key.name, key.key_hash, line.signature)
    else:
        at = 7 if other == "time" else 100
        raw = bytearray(line.signature)
        raw[at] ^= 1
        line = NoteSignature(NAME, line.key_hash, bytes(raw))
    with pytest.raises(NoteSignatureInvalid):
        verify(Note(text, (line,)), [key])


def test_extension_lines_are_not_covered() -> None:
    """The structure has no place for extension lines, so the signature says nothing of them (C2SP tlog-cosignature)."""
    assert verify(Note(CHECKPOINT.body() + "extension\n", (LINE,)), [KEY]) == [KEY]


def test_signing_is_hedged_and_both_signatures_hold() -> None:
    """Two signatures of one message differ, and each verifies."""
    again = cosign_mldsa(CHECKPOINT.body(), NAME, PRIVATE, TIME_S)
    assert again != LINE
    assert verify(Note(CHECKPOINT.body(), (again, LINE)), [KEY]) == [KEY]


@pytest.mark.parametrize("text", ["one\n", "one\ntwo\nthree\n", "o\n05\nAAAA\n", "o\n5\nnot base64\n", "o\n5\nAAAA\n"])
def test_only_a_checkpoint_is_cosigned(text: str) -> None:
    """A text that is not origin, size and root has no cosigned message."""
    with pytest.raises(MalformedNote):
        cosign_mldsa(text, NAME, PRIVATE, TIME_S)


def test_fields_that_do_not_fit_the_structure_are_refused() -> None:
    """Empty and overlong names, and times and sizes beyond 2^63, have no encoding."""
    good = (NAME, TIME_S, ORIGIN, 5, bytes(32))
    for at, bad in [(0, ""), (0, "x" * 256), (1, 2**63), (1, -1), (2, ""), (3, 2**63), (4, bytes(31))]:
        fields = list(good)
        fields[at] = bad
        with pytest.raises(MalformedNote):
            cosigned_message(*fields)  # type: ignore[arg-type]


def test_a_signature_or_key_of_another_length_is_refused() -> None:
    """Before a library is asked."""
    for public, signature in [(KEY.public_key, b""), (b"", bytes(2420)), (KEY.public_key, bytes(2421))]:
        with pytest.raises(BadSignature):
            verify_mldsa(public, signature, b"")


def test_the_log_s_own_post_quantum_line_is_required_where_its_key_is_known() -> None:
    """Stripping it from a checkpoint is noticed; the commit time is the same as the other signature's."""
    key = VerifierKey.make(ORIGIN, ML_DSA_44, KEY.public_key)
    own = cosign_mldsa(CHECKPOINT.body(), ORIGIN, PRIVATE, TIME_S)
    opened = open_checkpoint(extended(NOTE, [own]), [*LOG_KEYS, key])
    assert opened.committed_at_s == TIME_S
    with pytest.raises(NoteSignatureInvalid, match="lacks"):
        open_checkpoint(NOTE, [*LOG_KEYS, key])
    later = cosign_mldsa(CHECKPOINT.body(), ORIGIN, PRIVATE, TIME_S + 1)
    with pytest.raises(NoteSignatureInvalid, match="two different commit times"):
        open_checkpoint(extended(NOTE, [later]), [*LOG_KEYS, key])


def test_lines_of_a_witness_read_back_and_others_are_ignored() -> None:
    """Known cosigners are found; a line of an unknown key is passed over, a bad one of a known key is refused."""
    other = cosign(CHECKPOINT.body(), "other.example", LOG, TIME_S)
    lines = parse_lines(render_lines([other, LINE]))
    (found,) = cosignatures(CHECKPOINT.body(), lines, [KEY])
    assert (found.key, found.time_s) == (KEY, TIME_S)
    with pytest.raises(NoteSignatureInvalid):
        cosignatures(CHECKPOINT.body(), [other], [KEY])
    with pytest.raises(NoteSignatureInvalid, match="when it was made"):
        cosignatures(CHECKPOINT.body(), [cosign_mldsa(CHECKPOINT.body(), NAME, PRIVATE, 0)], [KEY])
    for bad in (b"", b"\n", LINE.line().encode()[:-1], b"\xff\n", LINE.line().encode() * 101):
        with pytest.raises(MalformedNote):
            parse_lines(bad)


def _keys(count: int) -> list[VerifierKey]:
    made = [Ed25519PrivateKey.from_private_bytes(bytes([each]) * 32) for each in range(1, count + 1)]
    return [
        VerifierKey.make(f"w{at}.example", COSIGNATURE_V1, each.public_key().public_bytes_raw())
        for at, each in enumerate(made)
    ]


def test_a_policy_counts_groups_of_groups() -> None:
    """The example of C2SP tlog-policy: two of three X, and any one of three Y."""
    keys = _keys(6)
    lines = [f"witness {name} {key}" for name, key in zip(("X1", "X2", "X3", "Y1", "Y2", "Y3"), keys, strict=True)]
    lines += ["group X 2 X1 X2 X3", "group Y any Y1 Y2 Y3", "# a remark", "\tgroup both  all X Y ", "", "quorum both"]
    policy = parse_policy("\n".join(lines).encode())
    assert policy.satisfied({keys[0], keys[2], keys[5]})
    assert not policy.satisfied({keys[0], keys[5]})
    assert not policy.satisfied({keys[0], keys[1], keys[2]})
    assert parse_policy(b"quorum none\n").satisfied(set())


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "quorum missing",
        "quorum none\nquorum none",
        "witness none {0}\nquorum none",
        "witness a {0}\nwitness a {1}\nquorum a",
        "witness a {0}\nwitness b {0}\nquorum a",
        "witness a {0} ftp://x\nquorum a",
        "witness a {0}\ngroup g 2 a\nquorum g",
        "witness a {0}\ngroup g 0 a\nquorum g",
        "witness a {0}\ngroup g any b\nquorum g",
        "witness a {0}\ngroup g 2 a a\nquorum g",
        "witness a {0}\ngroup g any none\nquorum g",
        "witness a {2}\nquorum a",
        "something else",
    ],
)
def test_a_policy_that_does_not_say_what_it_means_is_refused(lines: str) -> None:
    """Unknown and repeated names, repeated keys, thresholds out of range, keys that do not cosign: refused by line."""
    keys = [*_keys(2), LOG_KEYS[0]]
    with pytest.raises((MalformedNote, BadPublicKey), match=r"policy|quorum"):
        parse_policy(lines.format(*keys).encode())


def test_a_verifier_with_a_policy_asks_for_its_quorum(tmp_path: Path) -> None:
    """A bundle whose checkpoint the witness cosigned holds; without that line, or with a bad one, it does not."""
    text, policy_file, bundle_file = Note.parse(CONTENT.checkpoint).text, tmp_path / "policy", tmp_path / "bundle"
    policy_file.write_text(f"witness w {KEY}\nquorum w\n")
    policy = parse_policy(policy_file.read_bytes())
    line = cosign_mldsa(text, NAME, PRIVATE, TIME_S)
    bad = NoteSignature(NAME, line.key_hash, line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    good = replace(CONTENT, checkpoint=extended(CONTENT.checkpoint, [line]))
    report = verify_bundle(bundle.write(good), KEYS, policy)
    assert report.ok
    assert any(NAME in each for each in report.statements)
    for content in (CONTENT, replace(CONTENT, checkpoint=extended(CONTENT.checkpoint, [bad]))):
        failed = verify_bundle(bundle.write(content), KEYS, policy)
        assert failed.failure is not None
        assert (failed.failure.check, failed.failure.member) == ("checkpoint", bundle.CHECKPOINT)
    unasked = verify_bundle(bundle.write(good), KEYS)
    assert unasked.ok
    assert any("1 signatures of the checkpoint are of keys that were not given" in each for each in unasked.remarks)
    bundle_file.write_bytes(bundle.write(good))
    out, err = io.StringIO(), io.StringIO()
    assert verify_command.run(bundle_file, witnesses=policy_file, out=out, err=err) == verify_command.VERIFIED
    assert NAME in out.getvalue()
    policy_file.write_text("nonsense\n")
    assert verify_command.run(bundle_file, witnesses=policy_file, out=out, err=err) == verify_command.UNUSABLE
    assert verify_command.run(bundle_file, tsa=policy_file, out=out, err=err) == verify_command.UNUSABLE
    assert verify_command.run(bundle_file, tsa=tmp_path / "none", out=out, err=err) == verify_command.UNUSABLE
    assert err.getvalue().count("caseledger verify: ") == 3


def test_a_key_file_may_hold_the_log_s_post_quantum_key() -> None:
    """It reads back from its rendering; one of another name, or alone, is no key file."""
    own = VerifierKey.make(KEYS.origin, ML_DSA_44, KEY.public_key)
    trusted = replace(KEYS, post_quantum=(own,))
    assert parse_trusted_keys(render_trusted_keys(trusted)) == trusted
    assert parse_trusted_keys(render_trusted_keys(KEYS)) == KEYS
    for raw in (render_trusted_keys(replace(KEYS, post_quantum=(KEY,))), f"{own}\n".encode()):
        with pytest.raises(BadPublicKey):
            parse_trusted_keys(raw)


def test_two_signed_roots_of_one_size_are_a_split() -> None:
    """The two notes are handed back as proof; notes that somebody else signed prove nothing."""
    other = checkpoints.sign(Checkpoint(ORIGIN, 5, bytes(32)), LOG, TIME_S * 1_000_000)
    stranger = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    framed = checkpoints.sign(Checkpoint(ORIGIN, 5, bytes(32)), stranger, TIME_S * 1_000_000)
    assert find_split([NOTE, extended(NOTE, [LINE])], LOG_KEYS) is None
    assert find_split([NOTE, framed, b"no note"], LOG_KEYS) is None
    assert find_split([NOTE, framed, other], LOG_KEYS) == Split(ORIGIN, 5, NOTE, other)


def test_checkpoints_of_different_sizes_need_a_proof() -> None:
    """A proof links them, and without one the later does not count as the earlier's extension."""
    older = Checkpoint(ORIGIN, 3, Frontier().extend(LEAVES[:3]).root())
    proof = consistency_proof(3, 5, node)
    check_extends(older, CHECKPOINT, proof)
    check_extends(Checkpoint(ORIGIN, 0, Frontier().root()), CHECKPOINT, [])
    for bad in ((older, CHECKPOINT, proof[:-1]), (CHECKPOINT, older, proof), (older, CHECKPOINT, [])):
        with pytest.raises(HeadForked):
            check_extends(*bad)
