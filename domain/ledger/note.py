"""Signed notes: a text, a blank line, and signature lines (C2SP signed-note, tlog-cosignature).

Three kinds of signature are known: 0x01, Ed25519 over the text; 0x04, a timestamped cosignature over a checkpoint's
text; 0x06, a timestamped ML-DSA-44 cosignature over a checkpoint's origin, size and root. Everything else in a note is
left alone as the signature of an unknown key.
"""

import base64
import binascii
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from domain.errors import BadPublicKey, BadSignature, MalformedNote, NoteSignatureInvalid
from domain.ledger import cosignature_mldsa
from domain.ledger.cosignature_mldsa import MAX_TIMESTAMP_S, ML_DSA_44
from domain.ledger.keys import check_ed25519_public_key, verify_ed25519

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
COSIGNATURES = (COSIGNATURE_V1, ML_DSA_44)
"""The kinds that carry a time."""
# The limits of Go's note package (golang.org/x/mod/sumdb/note), which most readers of notes share.
MAX_NOTE_BYTES = 1024 * 1024
MAX_SIGNATURES = 100
COSIGNATURE_HEADER = "cosignature/v1\n"

_TIMESTAMP_BYTES = 8
_KEY_HASH_BYTES = 4


def b64decode_strict(text: str) -> bytes:
    """Bytes of padded standard base64 in its one canonical spelling (RFC 4648 4). Raises: ValueError."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


@lru_cache(1024)
def is_key_name(name: str) -> bool:
    """Whether this can name a key: not empty, no Unicode space, no plus, no control character."""
    return bool(name) and not any(
        char == "+" or char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in name
    )


def _key_hash(name: str, algorithm: int, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key).digest()[:_KEY_HASH_BYTES]


class VerifierKey(msgspec.Struct, frozen=True):
    """A named public key and the one kind of signature that it is trusted to make; `key_hash` is 4 bytes.

    Raises: BadPublicKey when a field is not acceptable, or the hash is not that of the rest.
    """

    name: str
    key_hash: bytes
    algorithm: int
    public_key: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise BadPublicKey("a key name is not empty and has no space, plus or control character")
        if self.algorithm not in (ED25519, *COSIGNATURES):
            raise BadPublicKey("the verifier key's kind of signature is not supported")
        if self.algorithm == ML_DSA_44:
            cosignature_mldsa.check_mldsa_public_key(self.public_key)
        else:
            check_ed25519_public_key(self.public_key)
        if self.key_hash != _key_hash(self.name, self.algorithm, self.public_key):
            raise BadPublicKey("the verifier key's hash is not that of its name and key")

    @classmethod
    def make(cls, name: str, algorithm: int, public_key: bytes) -> "VerifierKey":
        """The verifier key of a name, a kind of signature and a raw public key of 32 bytes (1,312 for ML-DSA-44)."""
        return _verifier_key(name, algorithm, public_key)

    @classmethod
    def parse(cls, vkey: str) -> "VerifierKey":
        """Reads `<name>+<8 hex>+<base64 of kind and key>` (C2SP signed-note).

        Raises: BadPublicKey.
        """
        # Standard base64 has a plus in its own alphabet, so only the first two separate.
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise BadPublicKey("a verifier key is name+hash+key")
        name, digits, encoded = parts
        try:
            key_hash, raw = bytes.fromhex(digits), b64decode_strict(encoded)
        except ValueError as error:
            raise BadPublicKey("the verifier key's hash is not hex, or its key not base64") from error
        if digits != key_hash.hex() or not raw:
            raise BadPublicKey("the verifier key's hash is not lowercase hex, or its key is missing")
        return cls(name, key_hash, raw[0], raw[1:])

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public_key).decode()
        return f"{self.name}+{self.key_hash.hex()}+{encoded}"


@lru_cache(256)
def _verifier_key(name: str, algorithm: int, public_key: bytes) -> VerifierKey:
    """Remembered, since a log signs every checkpoint under the same few names."""
    if not is_key_name(name) or not 0 <= algorithm <= 0xFF:
        raise BadPublicKey("the verifier key's name or kind of signature is not acceptable")
    return VerifierKey(name, _key_hash(name, algorithm, public_key), algorithm, public_key)


class NoteSignature(msgspec.Struct, frozen=True):
    """One signature line: the key's name, its 4-byte hash, and what it signed with.

    Raises: MalformedNote.
    """

    name: str
    key_hash: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name) or len(self.key_hash) != _KEY_HASH_BYTES or not self.signature:
            raise MalformedNote("a signature has a key name, a key hash and a value")

    def line(self) -> str:
        """The signature line, with its newline."""
        return f"— {self.name} {base64.b64encode(self.key_hash + self.signature).decode()}\n"

    @classmethod
    def parse(cls, line: str) -> "NoteSignature":
        """Reads a signature line without its newline. Raises: MalformedNote."""
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—":
            raise MalformedNote("a signature line is a dash, a key name and base64")
        try:
            raw = b64decode_strict(parts[2])
        except ValueError as error:
            raise MalformedNote("a signature line does not end in base64") from error
        return cls(parts[1], raw[:_KEY_HASH_BYTES], raw[_KEY_HASH_BYTES:])


class Note(msgspec.Struct, frozen=True):
    """A text, its final newline included, and 1 to 100 signatures, which are not thereby valid.

    Raises: MalformedNote.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        _check_text(self.text)
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise MalformedNote("a note has 1 to 100 signatures")

    @classmethod
    def parse(cls, raw: bytes) -> "Note":
        """Reads a note of at most 1 MiB; `render` gives the same bytes again. Raises: MalformedNote."""
        if len(raw) > MAX_NOTE_BYTES:
            raise MalformedNote("a note has at most 1 MiB")
        try:
            whole = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedNote("a note is UTF-8") from error
        # The text may hold empty lines: the last one separates.
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise MalformedNote("a note is a text, a blank line, and signature lines that end in a newline")
        if lines.count("\n") > MAX_SIGNATURES:
            raise MalformedNote("a note has 1 to 100 signatures")
        return cls(text + "\n", tuple(NoteSignature.parse(line) for line in lines[:-1].split("\n")))

    def render(self) -> bytes:
        """The note's bytes. Raises: MalformedNote when they are more than 1 MiB."""
        raw = (self.text + "\n" + "".join(item.line() for item in self.signatures)).encode()
        if len(raw) > MAX_NOTE_BYTES:
            raise MalformedNote("a note has at most 1 MiB")
        return raw


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(unicodedata.category(char) == "Cs" for char in set(text)):
        raise MalformedNote("a note's text is UTF-8 and ends in a newline")
    if any(char < " " and char != "\n" for char in set(text)):
        raise MalformedNote("a note has no control character but the newline")


def _ed25519_message(text: str) -> bytes:
    """What an 0x01 signature covers. Never what an 0x04 one does: one key may make both kinds."""
    if text.startswith(COSIGNATURE_HEADER):
        raise MalformedNote("a note's text does not begin like a cosigned message")
    return text.encode()


def _cosigned_message(text: str, timestamp_s: int) -> bytes:
    """What an 0x04 signature covers (C2SP tlog-cosignature, Ed25519 signed message)."""
    return f"{COSIGNATURE_HEADER}time {timestamp_s}\n{text}".encode()


def cosignature_time_s(signature: NoteSignature) -> int:
    """The POSIX seconds that a cosignature line of kind 0x04 or 0x06 carries. Raises: NoteSignatureInvalid."""
    timestamp_s = int.from_bytes(signature.signature[:_TIMESTAMP_BYTES], "big")
    if len(signature.signature) <= _TIMESTAMP_BYTES or timestamp_s > MAX_TIMESTAMP_S:
        raise NoteSignatureInvalid("a cosignature has a time below 2^63 seconds and a signature")
    return timestamp_s


def sign_ed25519(text: str, name: str, private_key: Ed25519PrivateKey) -> NoteSignature:
    """Signs a note's text with an Ed25519 key of that name (kind 0x01).

    Raises: MalformedNote, BadPublicKey.
    """
    _check_text(text)
    key = VerifierKey.make(name, ED25519, private_key.public_key().public_bytes_raw())
    return NoteSignature(name, key.key_hash, private_key.sign(_ed25519_message(text)))


def cosign(text: str, name: str, private_key: Ed25519PrivateKey, timestamp_s: int) -> NoteSignature:
    """Cosigns a checkpoint's text as of a POSIX time in whole seconds (kind 0x04).

    Raises: MalformedNote, BadPublicKey.
    """
    _check_text(text)
    if not 0 <= timestamp_s <= MAX_TIMESTAMP_S:
        raise MalformedNote("a cosignature's time is from 0 to 2^63 - 1 seconds")
    key = VerifierKey.make(name, COSIGNATURE_V1, private_key.public_key().public_bytes_raw())
    signed = private_key.sign(_cosigned_message(text, timestamp_s))
    return NoteSignature(name, key.key_hash, timestamp_s.to_bytes(_TIMESTAMP_BYTES, "big") + signed)


def cosign_mldsa(text: str, name: str, private_key: MLDSA44PrivateKey, timestamp_s: int) -> NoteSignature:
    """Cosigns a checkpoint's origin, size and root as of a POSIX time in whole seconds (kind 0x06).

    Raises: MalformedNote, BadPublicKey.
    """
    _check_text(text)
    message = cosignature_mldsa.message_of(text, name, timestamp_s)
    key = VerifierKey.make(name, ML_DSA_44, private_key.public_key().public_bytes_raw())
    signed = cosignature_mldsa.sign(message, private_key)
    return NoteSignature(name, key.key_hash, timestamp_s.to_bytes(_TIMESTAMP_BYTES, "big") + signed)


def _verify_line(text: str, signer: VerifierKey, line: NoteSignature) -> None:
    if signer.algorithm == ED25519:
        verify_ed25519(signer.public_key, line.signature, _ed25519_message(text))
        return
    timestamp_s, signature = cosignature_time_s(line), line.signature[_TIMESTAMP_BYTES:]
    if signer.algorithm == COSIGNATURE_V1:
        verify_ed25519(signer.public_key, signature, _cosigned_message(text, timestamp_s))
    else:
        message = cosignature_mldsa.message_of(text, signer.name, timestamp_s)
        cosignature_mldsa.verify_mldsa(signer.public_key, signature, message)


def verify(note: Note, keys: Sequence[VerifierKey]) -> list[VerifierKey]:
    """Those of the known keys that signed the note, in the order of its lines, each once.

    Lines of unknown keys are ignored (C2SP signed-note, signatures).

    Raises: NoteSignatureInvalid when any line of a known key does not hold, or when no known key signed.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_hash), key) != key:
            raise NoteSignatureInvalid("two different known keys share a name and a hash")
    verified: list[VerifierKey] = []
    for line in note.signatures:
        signer = known.get((line.name, line.key_hash))
        if signer is None:
            continue
        try:
            _verify_line(note.text, signer, line)
        except BadSignature as error:
            raise NoteSignatureInvalid("the signature of a known key does not hold") from error
        if signer not in verified:
            verified.append(signer)
    if not verified:
        raise NoteSignatureInvalid("no known key signed the note")
    return verified
