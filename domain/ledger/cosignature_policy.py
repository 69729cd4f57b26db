"""Which witnesses count, and how many of them are enough: a policy file (C2SP tlog-policy).

witness alpha witness.example/alpha+1a2b3c4d+BA... https://witness.example/alpha
witness beta  ...
group both all alpha beta
quorum both
"""

from collections.abc import Collection

import msgspec

from domain.errors import BadPublicKey, MalformedNote
from domain.ledger.note import COSIGNATURES, VerifierKey

MAX_POLICY_BYTES = 256 * 1024
MAX_WITNESSES = 64
NONE = "none"


class Witness(msgspec.Struct, frozen=True):
    """A witness under its name in the policy: its key, and the URL prefix that checkpoints are submitted to."""

    name: str
    key: VerifierKey
    url: str | None


class Group(msgspec.Struct, frozen=True):
    """Witnesses and groups of which at least `threshold` have to have cosigned."""

    name: str
    threshold: int
    members: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True):
    """Logs, witnesses, groups in the order of the file, and the name that decides."""

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def cosigners(self) -> tuple[VerifierKey, ...]:
        """The keys of all witnesses."""
        return tuple(witness.key for witness in self.witnesses)

    def satisfied(self, cosigned: Collection[VerifierKey]) -> bool:
        """Whether cosignatures by these keys are a quorum; of the quorum `none`, nothing is needed."""
        reached = {NONE, *(witness.name for witness in self.witnesses if witness.key in cosigned)}
        # A group names only what stands before it, so one pass in the order of the file is enough.
        for group in self.groups:
            if sum(member in reached for member in group.members) >= group.threshold:
                reached.add(group.name)
        return self.quorum in reached


def parse_policy(raw: bytes) -> Policy:
    """Reads a policy file.

    Raises:
        MalformedNote: not such a file; names the line.
        BadPublicKey: a key that is not acceptable, or not of a kind that cosigns.
    """
    if len(raw) > MAX_POLICY_BYTES:
        raise MalformedNote(f"a policy has at most {MAX_POLICY_BYTES} bytes")
    try:
        lines = raw.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise MalformedNote("a policy is UTF-8 text") from None
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        words = line.replace("\t", " ").split(" ")
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            reader.read(words)
        except (MalformedNote, BadPublicKey) as error:
            raise type(error)(f"line {number} of the policy: {error}") from None
    return reader.policy()


class _Reader:
    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: list[Witness] = []
        self._groups: list[Group] = []
        self._names = {NONE}
        self._quorum: str | None = None

    def read(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                key = VerifierKey.parse(vkey)
                if key.public_key in {each.public_key for each in self._logs}:
                    raise MalformedNote("the log is there twice")
                self._logs.append(key)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._witness(name, VerifierKey.parse(vkey), url[0].rstrip("/") if url else None)
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, tuple(members))
            case ["quorum", name]:
                if self._quorum is not None or name not in self._names:
                    raise MalformedNote("there is one quorum, of a name from above")
                self._quorum = name
            case _:
                raise MalformedNote("a line is a log, a witness, a group or the quorum")

    def _witness(self, name: str, key: VerifierKey, url: str | None) -> None:
        if key.algorithm not in COSIGNATURES:
            raise BadPublicKey("a witness's key is of kind 0x04 or 0x06")
        if key.public_key in {each.key.public_key for each in self._witnesses}:
            raise MalformedNote("the witness is there twice")
        if url is not None and not url.startswith(("https://", "http://")):
            raise MalformedNote("a witness's URL is of http or https")
        if len(self._witnesses) == MAX_WITNESSES:
            raise MalformedNote(f"there are at most {MAX_WITNESSES} witnesses")
        self._name(name)
        self._witnesses.append(Witness(name, key, url))

    def _group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        if not set(members) <= self._names - {NONE} or len(set(members)) != len(members):
            raise MalformedNote("a group's members are different names from above")
        wanted = {"any": "1", "all": str(len(members))}.get(threshold, threshold)
        if not (wanted.isascii() and wanted.isdigit()) or len(wanted) > 3 or not 1 <= int(wanted) <= len(members):
            raise MalformedNote("a group's threshold is `any`, `all`, or a number up to that of its members")
        self._name(name)
        self._groups.append(Group(name, int(wanted), members))

    def _name(self, name: str) -> None:
        if name in self._names:
            raise MalformedNote("the name is taken")
        self._names.add(name)

    def policy(self) -> Policy:
        if self._quorum is None:
            raise MalformedNote("a policy has a quorum line")
        return Policy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum)
