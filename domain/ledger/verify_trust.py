"""The keys that a verifier trusts, and nothing besides: those of a log's checkpoints and entries."""

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
    others: tuple["TrustedKeys", ...] = ()
    """Keys of other logs, as of the one that this one took the place of after a restore."""

    def of(self, origin: str) -> "TrustedKeys | None":
        """The keys of one of the logs, with those of all others behind; None where there are none."""
        logs = (self, *self.others)
        found = next((each for each in logs if each.origin == origin), None)
        if found is None:
            return None
        rest = tuple(msgspec.structs.replace(each, others=()) for each in logs if each is not found)
        return msgspec.structs.replace(found, others=rest)


def parse_trusted_keys(raw: bytes) -> TrustedKeys:
    """Read a key file: verifier keys of kind 0x01 (C2SP signed-note), one a line; `#` begins a comment line.

    A log's checkpoint key of kind 0x06 may be among them. Of several logs, as before and after a restore, the first in
    the file comes first.

    Raises:
        BadPublicKey: not such a file, a key that is not acceptable, the same key for checkpoints and entries, or of
            some log none of a kind.
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
    parsed = [VerifierKey.parse(line) for line in wanted]
    if any(key.algorithm not in (ED25519, ML_DSA_44) for key in parsed):
        raise BadPublicKey("a key file holds keys of kind 0x01 (Ed25519) and 0x06 (ML-DSA-44) only")
    logs: list[tuple[int, TrustedKeys]] = []
    left = parsed
    while left:
        # An origin may itself end in /entries, so the shorter name of the two decides.
        origin = min((key.name for key in left), key=len)
        names = (origin, origin + ENTRIES_SUFFIX)
        logs.append((min(at for at, key in enumerate(parsed) if key.name in names), _of_log(origin, left)))
        left = [key for key in left if key.name not in names]
    if not logs:
        raise BadPublicKey(f"a key file names a log's checkpoint key and its key <origin>{ENTRIES_SUFFIX}")
    if len({key.public_key for key in parsed}) != len({(key.name, key.public_key) for key in parsed}):
        raise BadPublicKey("a log signs checkpoints and entries with different keys, and no other log with either")
    first, *others = (each for _, each in sorted(logs, key=lambda each: each[0]))
    return msgspec.structs.replace(first, others=tuple(others))


def _of_log(origin: str, keys: list[VerifierKey]) -> TrustedKeys:
    own = [key for key in keys if key.name in (origin, origin + ENTRIES_SUFFIX)]
    checkpoint = tuple(key for key in own if key.name == origin and key.algorithm == ED25519)
    entries = tuple(key for key in own if key.name != origin and key.algorithm == ED25519)
    post_quantum = tuple(key for key in own if key.name == origin and key.algorithm == ML_DSA_44)
    if not checkpoint or not entries or len(checkpoint) + len(entries) + len(post_quantum) != len(own):
        raise BadPublicKey(f"a key file names a log's checkpoint key and its key <origin>{ENTRIES_SUFFIX}")
    return TrustedKeys(origin, checkpoint, entries, post_quantum)


def render_trusted_keys(keys: TrustedKeys) -> bytes:
    """The key file of a log, and of others behind it, as `parse_trusted_keys` reads it."""
    lines: list[str] = []
    for log in (keys, *keys.others):
        lines += [f"# the log {log.origin}"] if keys.others else []
        lines += ["# checkpoints", *map(str, log.checkpoint), "# entries", *map(str, log.entries)]
        lines += ["# checkpoints, post-quantum", *map(str, log.post_quantum)] if log.post_quantum else []
    return "".join(f"{line}\n" for line in lines).encode()
