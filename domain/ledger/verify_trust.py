"""The keys that a verifier trusts, and nothing besides: those of one log's checkpoints and entries."""

import msgspec

from domain.errors import BadPublicKey
from domain.ledger.cosignature_mldsa import ML_DSA_44
from domain.ledger.note import ED25519, VerifierKey

MAX_KEYS_BYTES = 64 * 1024
MAX_KEYS = 64
ENTRIES_SUFFIX = "/entries"


class TrustedKeys(msgspec.Struct, frozen=True):
    """One log's origin with its checkpoint keys (named as the origin) and entry keys (named `<origin>/entries`)."""

    origin: str
    checkpoint: tuple[VerifierKey, ...]
    entries: tuple[VerifierKey, ...]
    post_quantum: tuple[VerifierKey, ...] = ()
    """ML-DSA-44 keys of checkpoints, named as the origin: where there are any, one has to have signed, too."""


def parse_trusted_keys(raw: bytes) -> TrustedKeys:
    """Read a key file: verifier keys of kind 0x01 (C2SP signed-note), one a line; `#` begins a comment line.

    The log's checkpoint key of kind 0x06 may be among them.

    Raises:
        BadPublicKey: not such a file, a key that is not acceptable, keys of more than one log, the same key for
            checkpoints and entries, or none of a kind.
    """
    if len(raw) > MAX_KEYS_BYTES:
        raise BadPublicKey(f"a key file has at most {MAX_KEYS_BYTES} bytes")
    try:
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise BadPublicKey("a key file is UTF-8 text") from None
    wanted = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if len(wanted) > MAX_KEYS:
        raise BadPublicKey(f"a key file has at most {MAX_KEYS} keys")
    parsed = tuple(VerifierKey.parse(line) for line in wanted)
    post_quantum = tuple(key for key in parsed if key.algorithm == ML_DSA_44)
    keys = tuple(key for key in parsed if key.algorithm != ML_DSA_44)
    if any(key.algorithm != ED25519 for key in keys):
        raise BadPublicKey("a key file holds keys of kind 0x01 (Ed25519) and 0x06 (ML-DSA-44) only")
    # An origin may itself end in /entries, so the shorter name of the two decides.
    origin = min((key.name for key in keys), key=len, default="")
    checkpoint = tuple(key for key in keys if key.name == origin)
    entries = tuple(key for key in keys if key.name == origin + ENTRIES_SUFFIX)
    if len(checkpoint) + len(entries) != len(keys) or any(key.name != origin for key in post_quantum):
        raise BadPublicKey("a key file holds the keys of one log")
    if not checkpoint or not entries:
        raise BadPublicKey(f"a key file names a log's checkpoint key and its key <origin>{ENTRIES_SUFFIX}")
    if {key.public_key for key in checkpoint} & {key.public_key for key in entries}:
        raise BadPublicKey("a log signs checkpoints and entries with different keys")
    return TrustedKeys(origin, checkpoint, entries, post_quantum)


def render_trusted_keys(keys: TrustedKeys) -> bytes:
    """The key file of a log, as `parse_trusted_keys` reads it."""
    lines = ["# checkpoints", *map(str, keys.checkpoint), "# entries", *map(str, keys.entries)]
    lines += ["# checkpoints, post-quantum", *map(str, keys.post_quantum)] if keys.post_quantum else []
    return "".join(f"{line}\n" for line in lines).encode()
