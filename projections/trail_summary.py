"""What an event says, in a line for people. Personal, so it is sealed wherever it is kept."""

from domain import hold, privacy
from domain.access import AccessRecorded
from domain.case import events as e
from domain.event import Event

MAX_CHARACTERS = 300


def summary_of(event: Event) -> str:
    """One line of at most 300 characters; an event that has no wording of its own lists its short fields."""
    line = " ".join(_summary(event).split())
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…"


def _summary(event: Event) -> str:
    match event:
        case e.CaseOpened():
            return f"{_words(event.reason)}; {_words(event.organ)}; {event.diagnosis} ({event.home_country})"
        case e.CaseImported():
            return f"from another system, as {event.reference} (line {event.line} of file {event.file_sha256[:16]})"
        case e.OriginalVerdictRecorded():
            return f"{_words(event.verdict)}, said {event.centre} on {event.decided_on}"
        case e.DisclaimerAcknowledged():
            return f"information only, no guarantee; shown in {event.language}"
        case e.CoordinatorAssigned():
            return event.coordinator
        case e.ConsentGranted():
            return f"{_words(event.kind)}{_to(event.recipient)}: {event.purpose} (consent {event.consent})"
        case e.ConsentWithdrawn():
            return f"consent {event.consent}"
        case e.ChecklistIssued():
            return f"{', '.join(each.item for each in event.items)}; imaging as for {event.imaging_site}"
        case e.RecordReceived():
            duplicate = f", the same as {event.duplicate_of}" if event.duplicate_of else ""
            return f"{_words(event.kind)}: {event.files} files, {event.bytes} bytes{duplicate} (record {event.record})"
        case e.RecordClassified():
            markers = f", {len(event.markers)} marker values" if event.markers else ""
            dated = f" of {event.dated_on}" if event.dated_on else ""
            return f"{_words(event.kind)}{dated}{markers} (record {event.record})"
        case e.RecordQuarantined():
            return f"record {event.record}: {', '.join(event.findings)}"
        case e.ImagingChecked():
            return f"{_words(event.verdict)}: {', '.join(event.findings) or 'no findings'}"
        case e.RecordReleased():
            return f"record {event.record}: {event.reason}"
        case e.ImagingVerdictOverruled():
            return f"{_words(event.verdict)} instead of {_words(event.was)}: {event.reason}"
        case e.RepeatImagingAdvised():
            return f"{len(event.advice)} to be repeated: {'; '.join(each.what for each in event.advice)}"
        case e.ImagingAccepted():
            return f"as it is: {'; '.join(event.limits)}"
        case e.RecordsDeclaredComplete():
            return f"{len(event.records)} records; due from {event.due_from}, by {event.due_by}"
        case e.CaseRouted():
            return (
                f"{event.specialist_actor}, {_words(event.subspecialty)}, {event.centre_country}; by {event.decided_by}"
            )
        case e.ReviewAccepted():
            return f"due from {event.due_from}, by {event.due_by}"
        case e.OpinionSigned():
            # Not what it says: the patient reads the trail before the opinion is delivered to them.
            return f"signed by {event.signer_name} (opinion {event.opinion})"
        case e.OpinionDelivered():
            return f"opinion {event.opinion}, {_words(event.channel)}"
        case e.OpinionShared():
            return f"opinion {event.opinion}{_to(event.recipient)}, under consent {event.consent}"
        case e.ShareOpened():
            return f"opinion {event.opinion}, under consent {event.consent}"
        case e.CaseClosed():
            return _words(event.reason)
        case e.ContentErased():
            return f"{event.subject}, by {event.request}"
        case privacy.ErasureRequested():
            what = f"record {event.record}" if event.record else "the case"
            return f"{what}, {_words(event.reason)}; due by {event.due_by} ({event.request})"
        case privacy.ErasureRefused():
            return f"{_words(event.ground)} ({event.request})"
        case privacy.ErasureExecuted():
            return f"{len(event.subjects)} subjects ({event.request})"
        case hold.LegalHoldPlaced():
            return f"hold {event.hold}"
        case hold.LegalHoldReleased():
            return f"hold {event.hold}"
        case AccessRecorded():
            refused = f"; refused: {event.refused_because}" if event.refused_because else ""
            return f"{event.what}, on the basis: {_words(event.basis)}{refused}"
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return ", ".join(f"{_words(name)} {value}" for name, value in fields.items() if isinstance(value, str | int))


def _words(code: str) -> str:
    return code.replace("_", " ")


def _to(recipient: e.Recipient | None) -> str:
    if recipient is None:
        return ""
    named = (recipient.person, recipient.organisation, recipient.country)
    return f" to {', '.join(each for each in named if each is not None)}"
