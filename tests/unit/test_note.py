"""Signed notes: what parses, what verifies, and what is refused."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.errors import BadPublicKey, MalformedNote, NoteSignatureInvalid
from domain.ledger.note import (
    COSIGNATURE_V1,
    ED25519,
    MAX_NOTE_BYTES,
    Note,
    NoteSignature,
    VerifierKey,
    cosign,
    sign_ed25519,
    verify,
)

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
NAME = "ledger.example/a"
KEY = VerifierKey.make(NAME, ED25519, PUBLIC)
COKEY = VerifierKey.make(NAME, COSIGNATURE_V1, PUBLIC)
TEXT = "one\n\ntwo\n"
LINE = sign_ed25519(TEXT, NAME, PRIVATE)
TIMED = cosign(TEXT, NAME, PRIVATE, 1_700_000_000)

SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTg"
    "K7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()


def test_the_specification_s_own_example_verifies() -> None:
    """The note and the verifier key that C2SP signed-note prints fit each other."""
    key = VerifierKey.parse(SPEC_KEY)
    note = Note.parse(SPEC_NOTE)
    assert verify(note, [key]) == [key]
    assert str(key) == SPEC_KEY
    assert note.render() == SPEC_NOTE


def test_verifier_keys_round_trip() -> None:
    """A verifier key reads back from its text, and the kind of signature is part of its hash."""
    assert VerifierKey.parse(str(KEY)) == KEY
    assert VerifierKey.parse(str(COKEY)) == COKEY
    assert KEY.key_hash != COKEY.key_hash


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+00000000",
        SPEC_KEY.replace("530d903a", "530d903b"),
        SPEC_KEY.replace("530d903a", "530D903A"),
        SPEC_KEY.replace("530d903a", "53 0d903a"),
        SPEC_KEY.replace("example", "Example"),
        SPEC_KEY[:-1],
        SPEC_KEY + "=",
        SPEC_KEY + "\n",
        "example.com/foo+530d903a+",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_malformed_verifier_keys_are_refused(vkey: str) -> None:
    """A verifier key whose parts are missing, misspelt or of another key is refused."""
    with pytest.raises(BadPublicKey):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a\u00a0b", "a\u3000b", "a+b", "a\tb", "a\nb", "a\x7f", "\ud800"])
def test_bad_key_names_are_refused(name: str) -> None:
    """Empty names and names with a space, plus or control character name no key and sign no line."""
    with pytest.raises(BadPublicKey):
        VerifierKey.make(name, ED25519, PUBLIC)
    with pytest.raises(BadPublicKey):
        sign_ed25519(TEXT, name, PRIVATE)
    with pytest.raises(MalformedNote):
        NoteSignature(name, KEY.key_hash, b"x")


@pytest.mark.parametrize(
    ("algorithm", "public"),
    [(0x02, PUBLIC), (0x06, PUBLIC), (256, PUBLIC), (-1, PUBLIC), (1, PUBLIC[:31]), (4, bytes(32))],
)
def test_keys_that_cannot_verify_are_not_made(algorithm: int, public: bytes) -> None:
    """Another kind of signature, or a public key that is not acceptable, makes no verifier key."""
    with pytest.raises(BadPublicKey):
        VerifierKey.make(NAME, algorithm, public)


def test_both_kinds_of_signature_verify() -> None:
    """A plain signature and a cosignature by the same key are two signers, in the order of their lines."""
    note = Note.parse(Note(TEXT, (TIMED, LINE)).render())
    assert verify(note, [KEY, COKEY]) == [COKEY, KEY]
    assert verify(note, [KEY]) == [KEY]
    assert TIMED.signature[:8] == (1_700_000_000).to_bytes(8, "big")


def test_unknown_signers_are_ignored_but_do_not_suffice() -> None:
    """A line of an unknown key changes nothing, even under a known name; a note with no other is refused."""
    stranger = NoteSignature(NAME, b"\0\0\0\0", b"anything")
    namesake = NoteSignature("other.example", KEY.key_hash, b"anything")
    assert verify(Note(TEXT, (stranger, namesake, LINE)), [KEY]) == [KEY]
    for keys in ([KEY, COKEY], []):
        with pytest.raises(NoteSignatureInvalid):
            verify(Note(TEXT, (stranger, namesake)), keys)


def test_one_bad_line_of_a_known_key_spoils_the_note() -> None:
    """A signature of a known key that does not hold makes the note invalid, whatever else holds."""
    for bad in (
        NoteSignature(NAME, KEY.key_hash, bytes(64)),
        NoteSignature(NAME, KEY.key_hash, LINE.signature[:-1]),
        NoteSignature(NAME, COKEY.key_hash, (1_700_000_001).to_bytes(8, "big") + TIMED.signature[8:]),
        NoteSignature(NAME, COKEY.key_hash, TIMED.signature[:8]),
        NoteSignature(NAME, COKEY.key_hash, b"short"),
        NoteSignature(NAME, COKEY.key_hash, b"\xff" * 8 + TIMED.signature[8:]),
        NoteSignature(NAME, COKEY.key_hash, LINE.signature),
    ):
        with pytest.raises(NoteSignatureInvalid):
            verify(Note(TEXT, (LINE, bad)), [KEY, COKEY])
    with pytest.raises(NoteSignatureInvalid):
        verify(Note("another text\n", (LINE,)), [KEY])


def test_plain_signatures_never_cover_a_cosigned_message() -> None:
    """A text that reads like a cosigned message is neither signed nor accepted plainly."""
    text = f"cosignature/v1\ntime 1700000000\n{TEXT}"
    with pytest.raises(MalformedNote):
        sign_ed25519(text, NAME, PRIVATE)
    replayed = NoteSignature(NAME, KEY.key_hash, TIMED.signature[8:])
    with pytest.raises(MalformedNote):
        verify(Note(text, (replayed,)), [KEY])


@pytest.mark.parametrize("timestamp_s", [-1, 2**63])
def test_absurd_times_are_not_signed(timestamp_s: int) -> None:
    """A cosignature's time lies within 63 bits."""
    with pytest.raises(MalformedNote):
        cosign(TEXT, NAME, PRIVATE, timestamp_s)


GOOD = Note(TEXT, (LINE,)).render()
B64 = base64.b64encode(b"12345").decode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT.encode(),
        b"text\n\n",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD + b"\n\n",
        GOOD.replace(b"one", b"o\rne"),
        GOOD.replace(b"one", b"o\0ne"),
        GOOD.replace(b"one", b"o\tne"),
        GOOD.replace(b"one", b"o\xffne"),
        GOOD.replace(b"one", b"\xed\xa0\x80"),
        GOOD.replace(b"\n\n\xe2\x80\x94", b"\n\xe2\x80\x94"),
        f"text\n\n- name {B64}\n".encode(),
        f"text\n\n—name {B64}\n".encode(),
        f"text\n\n—  {B64}\n".encode(),
        f"text\n\n— name  {B64}\n".encode(),
        f"text\n\n— name {B64} \n".encode(),
        f"text\n\n— na+me {B64}\n".encode(),
        f"text\n\n— na\u2003me {B64}\n".encode(),
        "text\n\n— name\n".encode(),
        "text\n\n— name AAAA\n".encode(),
        "text\n\n— name AAAAAA==\n".encode(),
        "text\n\n— name MTIzNDV=\n".encode(),
        "text\n\n— name MTIzNDU\n".encode(),
        "text\n\n— name MTIz_DU=\n".encode(),
        "text\n\n— name MTIzNDU=é\n".encode(),
    ],
)
def test_malformed_notes_are_refused(raw: bytes) -> None:
    """What is not exactly a text, a blank line and well-formed signature lines is not a note."""
    with pytest.raises(MalformedNote):
        Note.parse(raw)


def test_bounds() -> None:
    """A note has at most 100 signatures and 1 MiB, read or written, and at least one signature."""
    line = f"— name {B64}\n"
    assert len(Note.parse(f"text\n\n{line * 100}".encode()).signatures) == 100
    with pytest.raises(MalformedNote):
        Note.parse(f"text\n\n{line * 101}".encode())
    with pytest.raises(MalformedNote):
        Note(TEXT, (LINE,) * 101)
    with pytest.raises(MalformedNote):
        Note(TEXT, ())
    room = MAX_NOTE_BYTES - len(LINE.line().encode()) - 2
    largest = Note("x" * room + "\n", (LINE,))
    assert Note.parse(largest.render()) == largest
    with pytest.raises(MalformedNote):
        Note("x" * (room + 1) + "\n", (LINE,)).render()
    with pytest.raises(MalformedNote):
        Note.parse(b"x" + largest.render())


@pytest.mark.parametrize("text", ["", "no newline", "bell\x07\n", "\ud800\n"])
def test_bad_texts_are_not_signed(text: str) -> None:
    """A text that no note can have is neither signed nor made into a note."""
    with pytest.raises(MalformedNote):
        sign_ed25519(text, NAME, PRIVATE)
    with pytest.raises(MalformedNote):
        cosign(text, NAME, PRIVATE, 0)
    with pytest.raises(MalformedNote):
        Note(text, (LINE,))
