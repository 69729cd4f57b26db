"""What is said of a body that is not as it should be: places, names and values of ours, and nothing that was sent."""

import pytest

from api.bodies import decode_body
from api.problems import Told
from api.routes.cases import OpenCaseBody
from api.routes.review import PrepareBody

REASONS = (
    "major_high_risk_operation, plan_changed_much, rare_or_complex_cancer, surgeon_little_experience, told_unresectable"
)
PINNED = b'{"key":"a","opinion":{"relied_on":[%s]}}'


@pytest.mark.parametrize(
    ("type_", "raw", "detail", "field"),
    [
        (OpenCaseBody, b'{"Zorbulon":1}', "the body: a member is not known; known are case, patient", None),
        (OpenCaseBody, b'{"Zorbulon":1,"Zorbulon":2}', "an object of the body has a member twice", None),
        (OpenCaseBody, b'{"case":1,"case":2}', "an object of the body has the member case twice", None),
        (
            OpenCaseBody,
            b'{"patient":{"zorbulon":1}}',
            "patient: a member is not known; known are name, born_on, account",
            "/patient",
        ),
        (
            PrepareBody,
            PINNED % b'{"zorbulon":1}',
            "opinion.relied_on.0: a member is not known; known are record, manifest_sha256",
            "/opinion/relied_on/0",
        ),
        (
            PrepareBody,
            PINNED % b'{"record":"a"}',
            "opinion.relied_on.0: the member manifest_sha256 is missing",
            "/opinion/relied_on/0/manifest_sha256",
        ),
        (
            OpenCaseBody,
            b'{"case":{"reason":"zorbulon"}}',
            f"case.reason is not one of the values that are allowed: {REASONS}",
            "/case/reason",
        ),
    ],
)
def test_what_is_wrong_is_said_in_our_own_words(type_: type, raw: bytes, detail: str, field: str | None) -> None:
    """The parents that are known, the names that are known there, the values that are allowed."""
    told = refused(type_, raw)
    assert (str(told.error), told.more["field"]) == (detail, field)


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (OpenCaseBody, "x - at `$.zorbulon"),
        (OpenCaseBody, "x - at `$.case.zorbulon"),
        (OpenCaseBody, "x` - at `$.zorbulon"),
        (OpenCaseBody, "matching regex - at `$.case.organ"),
        (OpenCaseBody, "x - at `$.case.organ"),
        (PrepareBody, "x - at `$.opinion.relied_on[4470221]"),
        (PrepareBody, "matching regex - at `$.opinion.relied_on[4470221].record"),
    ],
)
def test_a_name_that_is_written_like_a_place_is_none(type_: type, name: str) -> None:
    """Whoever makes a member's name look like the end of the decoder's own message is told of the body as a whole."""
    told = refused(type_, f'{{"{name}":1}}'.encode())
    assert str(told.error).startswith("the body: a member is not known; known are ")
    assert told.more["field"] is None


def refused(type_: type, raw: bytes) -> Told:
    """What a body is refused with."""
    with pytest.raises(Told) as caught:
        decode_body(raw, type_)
    return caught.value
