"""Statements and payloads: what is taken in, and what the commitment and the seal bind."""

import hmac
import re

import msgspec
import pytest

from domain.errors import MalformedBody, MalformedStatement, PayloadAltered, TooLarge
from domain.ledger import encoding, statement
from domain.ledger.sealing import Opener, Opening, commit, open_all, seal
from domain.ledger.statement import (
    MAX_PAYLOAD_BYTES,
    MAX_STATEMENT_BYTES,
    Statement,
    decode_statement,
    encode_statement,
    peek_statements,
)

STATEMENT = Statement(
    origin="ledger.example/test",
    stream="case-1",
    rev=1,
    case="1",
    kind="case.opened.v1",
    actor="coordinator-1",
    role="coordinator",
    recorded_at=1_800_000_000_000_000,
    cause="0199c0de-0000-7000-8000-000000000002",
    purpose="TREAT",
    subject="case:1",
    commitment="0" * 64,
)
RAW = encode_statement(STATEMENT)
OPENING = Opening(b"r" * 32, b'{"why":"told_unresectable"}')


def altered(old: bytes, new: bytes) -> bytes:
    """The statement's bytes with one place changed."""
    assert old in RAW
    return RAW.replace(old, new, 1)


def test_a_statement_reads_back() -> None:
    """Bytes and value are each other's, by the strict reader and by the quick one."""
    assert decode_statement(RAW) == STATEMENT
    assert peek_statements([RAW, RAW]) == [STATEMENT, STATEMENT]


@pytest.mark.parametrize(
    "raw",
    [
        altered(b'"rev":1', b'"rev":1,"rev":1'),
        altered(b'"rev":1', b'"rev": 1'),
        altered(b'"rev":1', b'"rev":1.0'),
        altered(b'"rev":1', b'"rev":0'),
        altered(b'"rev":1', b'"rev":9007199254740992'),
        altered(b'"rev":1', b'"rev":' + b"9" * 4000),
        altered(b'"rev":1', b'"rev":2'),
        altered(b'"recorded_at":', b'"recorded_at":-'),
        altered(b"coordinator-1", b"coordinator-1\\n"),
        altered(b"coordinator-1", b"coordinator-1\\u0000"),
        altered(b"coordinator-1", b"coordinator-1\x1b"),
        altered(b"coordinator-1", b"Jane Doe"),
        altered(b"coordinator-1", b"\xff"),
        altered(b'"TREAT"', b'"\\u0054REAT"'),
        altered(b'{"actor"', b'{"aa":null,"actor"'),
        altered(b'"cause"', b'"address":"x","cause"'),
        altered(b',"subject":"case:1"', b""),
        altered(b'"kind"', b'"key_id":"' + b"0" * 32 + b'","kind"'),
        altered(b'"kind"', b'"expires_at":1,"kind"'),
        altered(b'"1"', b'{"a":' * 1000 + b"1" + b"}" * 1000),
        b"[" * 8000,
        b"null",
        b"",
        RAW + b"\n",
    ],
    ids=lambda raw: f"{len(raw)} bytes",
)
def test_what_is_no_statement_is_refused(raw: bytes) -> None:
    """Duplicate members, other spellings, numbers, control characters and nesting out of bounds; fields at odds."""
    with pytest.raises(MalformedStatement) as refused:
        decode_statement(raw)
    assert "Jane" not in str(refused.value)


def _by_patterns(raw: bytes) -> Statement | None:
    """What the fields' own patterns and bounds say, without the one look at the spelling."""
    try:
        encoding.decode(raw, statement._Strict)
    except MalformedBody:
        return None
    return peek_statements([raw])[0]


def test_the_quick_look_at_the_spelling_lets_nothing_through_that_the_patterns_refuse() -> None:
    """Every byte of a statement that has every member, replaced, taken out and doubled: both readers say the same."""
    full = msgspec.structs.replace(
        STATEMENT,
        rev=2,
        prev="a" * 64,
        key_id="k" * 32,
        key_head="b" * 64,
        expires_at=1_800_000_000_000_001,
        occurred_at=2**53 - 1,
        object="o",
        version="1",
        outcome="refused",
    )
    raw = encode_statement(full)
    assert statement._spelled(encode_statement(STATEMENT)) is not None
    seen = set()
    for at in range(len(raw)):
        for put in (b"", raw[at : at + 1] * 2, *(bytes([each]) for each in b'\x00\n "\\,:{}09aA.-_/\x7f\xc3')):
            changed = raw[:at] + put + raw[at + 1 :]
            expected = _by_patterns(changed)
            try:
                found: Statement | None = decode_statement(changed)
            except MalformedStatement as error:
                # Fields that contradict each other are refused behind the patterns.
                found = (
                    None if expected is None or not re.search("come together|and only there", str(error)) else expected
                )
            assert found == expected, changed
            seen.add(expected is None)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("field", "most"),
    [("origin", 200), ("kind", 80), ("rev", 2**53 - 1), ("recorded_at", 2**53 - 1), ("occurred_at", 2**53 - 1)],
)
def test_a_field_goes_up_to_its_bound(field: str, most: int) -> None:
    """The largest that is allowed is read back; one more is refused, as it is by who makes a statement."""

    def reaching(bound: int) -> Statement:
        names = {"origin": "a" * bound, "kind": "a." + "b" * (bound - 5) + ".v1"} if bound <= 201 else {}
        prev = "a" * 64 if field == "rev" else None
        return msgspec.structs.replace(STATEMENT, **{"prev": prev, field: names.get(field, bound)})

    assert decode_statement(encode_statement(reaching(most))) == reaching(most)
    with pytest.raises(MalformedStatement):
        encode_statement(reaching(most + 1))


def test_a_commitment_is_hmac_as_the_library_computes_it() -> None:
    """HMAC-SHA256 over label and payload (RFC 2104), for payloads of any length up to several blocks."""
    for length in range(300):
        payload = bytes(range(256)) * 2
        expected = hmac.digest(OPENING.blinding, b"caseledger/payload/v1\0" + payload[:length], "sha256").hex()
        assert commit(OPENING.blinding, payload[:length]) == expected


def test_a_statement_has_a_greatest_size() -> None:
    """8 KiB, judged before anything is parsed, and by whoever makes one as well."""
    assert MAX_STATEMENT_BYTES == 8192
    with pytest.raises(MalformedStatement):
        decode_statement(b"[" * MAX_STATEMENT_BYTES)
    with pytest.raises(TooLarge, match="8193"):
        decode_statement(b"[" * (MAX_STATEMENT_BYTES + 1))


def test_a_payload_has_a_greatest_size() -> None:
    """256 KiB can be committed to, and not a byte more."""
    assert MAX_PAYLOAD_BYTES == 262_144
    assert len(commit(OPENING.blinding, b"x" * MAX_PAYLOAD_BYTES)) == 64
    with pytest.raises(TooLarge, match="262145"):
        commit(OPENING.blinding, b"x" * (MAX_PAYLOAD_BYTES + 1))


def test_a_sealed_payload_opens_in_its_place_only() -> None:
    """Another key, statement, commitment, version, any altered byte, or a cut: refused, alone or among good ones."""
    key, nonce, commitment = b"k" * 32, b"n" * 12, OPENING.commitment()
    sealed = seal(key, nonce, OPENING, RAW)
    assert Opener(key).open(sealed, RAW, commitment) == OPENING
    others = [
        (b"K" * 32, sealed, RAW, commitment),
        (key, sealed, altered(b'"TREAT"', b'"TREAU"'), commitment),
        (key, sealed, RAW, Opening(b"s" * 32, OPENING.payload).commitment()),
        (key, b"\x02" + sealed[1:], RAW, commitment),
        *(
            (key, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], RAW, commitment)
            for at in range(len(sealed))
        ),
        *((key, sealed[:end], RAW, commitment) for end in range(len(sealed))),
    ]
    good = Opener(key), sealed, RAW, commitment
    assert open_all([good, good]) == [OPENING.payload] * 2
    assert open_all([]) == []
    for each in others:
        with pytest.raises(PayloadAltered):
            Opener(each[0]).open(*each[1:])
        assert open_all([good, (Opener(each[0]), *each[1:]), good]) is None


def test_equal_payloads_do_not_look_equal() -> None:
    """The blinding hides a payload that has few possible values; without it no guess can be tested."""
    low_entropy = encoding.encode({"accepted": True})
    assert Opening(b"a" * 32, low_entropy).commitment() != Opening(b"b" * 32, low_entropy).commitment()
