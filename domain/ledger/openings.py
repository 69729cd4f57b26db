"""The file of openings that goes with a whole log: those of the key streams, without which no signer can be judged."""

from domain.errors import CaseLedgerError, MalformedBundle
from domain.ledger import encoding
from domain.ledger.bundle import Disclosure

MAX_OPENINGS_BYTES = 256 * 1024 * 1024


def read_openings(raw: bytes) -> dict[int, Disclosure]:
    """Openings of the entries of key streams, one canonical JSON document a line, by index.

    Raises:
        MalformedBundle: another shape, above 256 MiB, or two of one index; names the line.
    """
    if len(raw) > MAX_OPENINGS_BYTES:
        raise MalformedBundle(f"a file of openings has at most {MAX_OPENINGS_BYTES} bytes")
    found: dict[int, Disclosure] = {}
    for number, line in enumerate(raw.removesuffix(b"\n").split(b"\n") if raw else (), 1):
        try:
            opening = encoding.decode(line, Disclosure)
        except CaseLedgerError as error:
            raise MalformedBundle(f"line {number} of the openings: {error}") from None
        if found.setdefault(opening.index, opening) is not opening:
            raise MalformedBundle(f"line {number} of the openings: the entry has an opening already")
    return found
