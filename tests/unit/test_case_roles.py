"""Who may do what: one table, each row an action, each column somebody with a token."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from domain import hold, privacy
from domain import signing_key as keys
from domain.case import commands as c
from domain.case import events as e
from domain.case.access import What, may_read
from domain.case.actor import SERVICE, Actor
from domain.case.calendar import CALENDARS
from domain.case.decide import decide
from domain.errors import Refused, WrongRole
from domain.service_key import check_proposer
from tests.unit.case_builder import (
    ADMINISTRATOR,
    COMPLIANCE,
    COORDINATOR,
    NOW,
    ONCOLOGIST,
    OPENED,
    OTHER_COORDINATOR,
    OTHER_ONCOLOGIST,
    OTHER_PATIENT,
    OTHER_SURGEON,
    PATIENT,
    RECIPIENT,
    SHARING,
    SIGNED,
    SPECIALIST,
    SURGEON,
    TECHNICIAN,
    TRANSLATOR,
    WAY,
    checked,
    digest,
    given,
    story,
)

COLUMNS: dict[str, Actor] = {
    "patient": PATIENT,
    "another patient": OTHER_PATIENT,
    "patient of no account": replace(PATIENT, account=""),
    "coordinator": COORDINATOR,
    "another coordinator": OTHER_COORDINATOR,
    "technician": TECHNICIAN,
    "specialist": SURGEON,
    "another specialist": OTHER_SURGEON,
    "translator": TRANSLATOR,
    "oncologist": ONCOLOGIST,
    "another oncologist": OTHER_ONCOLOGIST,
    "compliance": COMPLIANCE,
    "administrator": ADMINISTRATOR,
    "service": SERVICE,
    # Ids are one name space: whoever signs in under somebody's id in another role is not them.
    "coordinator's id as administrator": Actor(id=COORDINATOR.id, role="administrator"),
    "specialist's id as translator": Actor(id=SURGEON.id, role="translator"),
    "oncologist's id as specialist": Actor(id=ONCOLOGIST.id, role="specialist"),
    "patient's account as oncologist": Actor(id=PATIENT.id, role="oncologist"),
}
LIMITED = (*story("gathering"), *story("imaging_check")[-2:-1], checked("limited"))
ASKED = privacy.ErasureRequest(
    request="privacy-1", case="case-1", scope="case", record=None, reason="consent_withdrawn", requester=PATIENT.id,
    due_by="2026-04-02",
)  # fmt: skip
APPROVED = replace(ASKED, status="approved", approver="compliance-2")
CLOSED = given(*story("follow_up"), e.CaseClosed(reason="completed")).state
PROPOSED = keys.SigningKey(key="k1", public_key=digest("a"), owner="surgeon-9", owner_role="specialist")
OPEN = c.OpenCase(**{name: getattr(OPENED, name) for name in OPENED.__struct_fields__})
Try = Callable[[Actor], object]


COMMANDS: list[c.Command] = []


def does(phase: e.Phase | tuple[object, ...], command: c.Command) -> Try:
    """A command on a case that is so far."""
    COMMANDS.append(command)
    events = phase if isinstance(phase, tuple) else story(phase)
    state = given(*events).state  # type: ignore[arg-type]
    return lambda actor: decide(state, command, actor, NOW, CALENDARS)


def reads(what: What, item: str | None = None, phase: e.Phase = "follow_up") -> Try:
    """A read of a case that is so far."""
    state = given(*story(phase)).state
    return lambda actor: may_read(state, actor, what, NOW, item)


def content(actor: Actor) -> None:
    """A bundle with what it opens to; compliance has one with proofs only."""
    if not may_read(given(*story("follow_up")).state, actor, "bundle", NOW).content:
        raise WrongRole


def opens(actor: Actor) -> None:
    """A case for the account that the actor signs in under; a coordinator's is for somebody else's."""
    command = replace(OPEN, patient_account=actor.account or "account-1")
    decide(None, command, actor, NOW, CALENDARS)


CHECK = c.RecordImagingCheck(
    records=("r-ct",), verdict="limited", findings=(), report_sha256=digest("f"), requirement="any",
    requirement_version=1, checker_version=1,
)  # fmt: skip
SIGN = c.SignOpinion(
    opinion="opinion-1", content=SIGNED.content, relied_on=SIGNED.relied_on, signer_name=SPECIALIST.name
)
GRANT = c.GrantConsent(
    consent="c-9", kind="process", purpose="second opinion", language="en", text_sha256=digest("c"),
    evidence_sha256=digest("e"),
)  # fmt: skip
SHARE = c.ShareOpinion(share="share-1", opinion="opinion-1", consent=SHARING.consent, recipient=RECIPIENT)
RECEIVE = c.ReceiveRecord(record="r-9", kind="oncologist_letter", manifest_sha256=digest("9"), files=1, bytes=1)
P, C, Q, S, L, X, A = "patient", "coordinator", "technician", "specialist", "oncologist", "compliance", "administrator"
CA = "coordinator's id as administrator"
ADMINS = (A, CA)

ROWS: dict[str, tuple[Try, tuple[str, ...]]] = {
    "open a case": (opens, (P, "another patient", C, "another coordinator")),
    "upload": (does("gathering", RECEIVE), (P, C)),
    "upload in review": (does("in_review", RECEIVE), (P, C, S)),
    "read the case": (reads("case", phase="in_review"), (P, C, S)),
    "read imaging": (reads("record", "r-ct", "in_review"), (P, C, Q, S)),
    "read another record": (reads("record", "r-path", "in_review"), (P, C, S)),
    "read an imaging report": (reads("imaging_report", phase="in_review"), (C, Q, S)),
    "read a record when shared": (reads("record", "r-path"), (P, C, S)),
    "read an opinion": (reads("opinion", "opinion-1"), (P, C, S, L)),
    "read an opinion before delivery": (reads("opinion", "opinion-1", "signed"), (C, S)),
    "read the trail": (reads("trail"), (P, C, X)),
    "take a bundle": (reads("bundle"), (P, X)),
    "take a bundle with content": (content, (P,)),
    "check imaging": (does("imaging_check", CHECK), (Q, "service")),
    "overrule a verdict": (does(LIMITED, c.OverruleImagingVerdict(verdict="adequate", reason="The label.")), (Q,)),
    "accept limited imaging": (
        does(LIMITED, c.AcceptLimitedImaging(limits=("thick slices",), reason="It cannot be repeated.")),
        (C,),
    ),
    "accept limited imaging in review": (
        does(
            (*story("in_review"), checked("limited")),
            c.AcceptLimitedImaging(limits=("thick slices",), reason="It cannot be repeated."),
        ),
        (C, S),
    ),
    "declare complete": (does("imaging_check", c.DeclareRecordsComplete()), (C,)),
    "route": (does("ready", c.RouteCase(specialist=SPECIALIST)), (C,)),
    "take a review": (does("routed", c.AcceptReview(specialist=SPECIALIST)), (S,)),
    "sign an opinion": (does("in_review", SIGN), (S,)),
    "deliver": (does("signed", c.DeliverOpinion(opinion="opinion-1", channel="portal")), (C,)),
    "grant a consent": (does("intake", GRANT), (P, C)),
    "withdraw a consent": (
        does("delivered", c.WithdrawConsent(consent="c-share", evidence_sha256=digest("e"))),
        (P, C),
    ),
    "share": (does("delivered", SHARE), (P, C)),
    "open a share": (does("follow_up", c.OpenShare(share="share-1")), (L,)),
    "assign a coordinator": (does("intake", c.AssignCoordinator(coordinator="coordinator-9")), (C,)),
    "classify a record": (does("gathering", c.ClassifyRecord(record="r-path", kind="operative_note")), (C,)),
    "close": (does("follow_up", c.CloseCase(reason="completed")), (C,)),
    "ask for erasure": (
        lambda actor: privacy.request_erasure(
            "case-1", CLOSED, "privacy-1", "case", None, "consent_withdrawn", actor, NOW
        ),
        (P, C),
    ),
    "approve an erasure": (lambda actor: privacy.approve(ASKED, CLOSED, False, actor), (X,)),
    "refuse an erasure": (lambda actor: privacy.refuse(ASKED, CLOSED, "legal_claims", "A claim.", actor), (X,)),
    "execute an erasure": (lambda actor: privacy.execute(APPROVED, CLOSED, False, ("case:1",), actor), ADMINS),
    "place a hold": (lambda actor: hold.place(CLOSED, "hold-1", "A claim.", "The court.", actor), (X,)),
    "approve a key": (lambda actor: keys.approve(PROPOSED, actor.id, actor.role), (X, *ADMINS)),
    "propose a key of the log": (lambda actor: check_proposer(actor.role), ADMINS),
}


@pytest.mark.parametrize("action", ROWS)
def test_who_may_do_what(action: str) -> None:
    """Every row of the table for everybody: those whom it names do it, all others are refused for who they are."""
    attempt, allowed = ROWS[action]
    assert set(allowed) <= set(COLUMNS)
    for name, actor in COLUMNS.items():
        if name in allowed:
            attempt(actor)
            continue
        # Only the patient of the case is told more than that: an opinion awaits its delivery.
        with pytest.raises(Refused if name == P else WrongRole):
            attempt(actor)


@pytest.mark.parametrize("phase", [phase for phase, _ in WAY])
def test_a_stranger_is_told_the_same_in_every_phase(phase: e.Phase) -> None:
    """That it is not for them; not how far the case is, nor what it has."""
    state = given(*story(phase)).state
    reads: tuple[What, ...] = ("case", "record", "opinion", "imaging_report")
    for name in ("another patient", "another coordinator", "another specialist", "translator", A):
        for command in COMMANDS:
            with pytest.raises(WrongRole):
                decide(state, command, COLUMNS[name], NOW, CALENDARS)
        for what in reads:
            for item in (None, "r-ct", "opinion-1", "nothing"):
                with pytest.raises(WrongRole):
                    may_read(state, COLUMNS[name], what, NOW, item)
