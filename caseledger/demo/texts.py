"""What the demo's people say. Everybody and everything in here is invented; only the images are real."""

from hashlib import sha256
from typing import Any, Literal

import msgspec

RoleName = Literal["patient", "coordinator", "specialist", "oncologist", "compliance", "administrator"]


class Role(msgspec.Struct, frozen=True):
    """One of the cast."""

    name: str
    role: RoleName
    subject: str
    """The id under which they sign in."""


PATIENT = Role("Peter Doe", "patient", "account-7f31")
COORDINATOR = Role("Tom Fielding", "coordinator", "tom.fielding")
SURGEON = Role("Dr. Asha Rao", "specialist", "asha.rao")
ONCOLOGIST = Role("Dr. Helen Moss", "oncologist", "helen.moss")
COMPLIANCE = Role("Grace Obi", "compliance", "grace.obi")
ADMINISTRATOR = Role("Ines Duarte", "administrator", "ines.duarte")
CAST = (PATIENT, COORDINATOR, SURGEON, ONCOLOGIST, COMPLIANCE, ADMINISTRATOR)


def digest(text: str) -> str:
    """SHA-256 of an exact text, in hex: what a consent keeps of what was shown."""
    return sha256(text.encode()).hexdigest()


CASE: dict[str, Any] = {
    "reason": "told_unresectable",
    "diagnosis": "Colorectal liver metastases, both lobes, after resection of the primary",
    "organ": "liver",
    "home_country": "GB",
}
IDENTITY: dict[str, Any] = {"name": PATIENT.name, "born_on": "1961-04-09"}
VERDICT: dict[str, Any] = {
    "verdict": "unresectable",
    "centre": "Example County Hospital",
    "decided_on": "2026-03-02",
    "words": "Not for surgery. Palliative chemotherapy offered.",
}
DISCLAIMER = "This opinion is information only. It replaces no examination and guarantees no outcome."
CHECKLIST: list[dict[str, str]] = [
    {"item": "imaging-liver", "kind": "imaging", "description": "CT or MRI of the liver as DICOM files"},
    {"item": "report", "kind": "radiology_report", "description": "The radiologist's report on it"},
    {"item": "markers", "kind": "bloods", "description": "Recent bloods with CEA and CA19-9"},
]
REPORT = b"RADIOLOGY REPORT (invented)\nFour metastases in segments II, III, VI and VII. No extrahepatic disease.\n"
BLOODS = b"BLOODS (invented)\nCEA 18 ug/L, CA19-9 21 kU/L, bilirubin 11 umol/L, platelets 231.\n"
NO_IMAGE = b"This is a photograph of a film, says the sender.\n"
LIMITS = ["Five slices only: enough to plan the discussion, not to measure the future liver remnant."]
WHY_ACCEPTED = "The home hospital archived no more than this; a repeat scan is booked before any operation."
EVIDENCE = digest("certificate of the invented centre")
SPECIALIST: dict[str, Any] = {
    "actor": SURGEON.subject,
    "name": SURGEON.name,
    "centre": "Example Liver Centre, Chennai",
    "country": "IN",
    "calendar": "india",
    "subspecialty": "hpb",
    "subspecialty_evidence_sha256": EVIDENCE,
    "volumes": [{"organ": "liver", "operations_a_year": 140, "evidence_sha256": EVIDENCE}],
}
RECIPIENT: dict[str, Any] = {
    "country": "GB",
    "organisation": "Example County Hospital",
    "person": ONCOLOGIST.name,
    "actor": ONCOLOGIST.subject,
}
OPINION: dict[str, Any] = {
    "resectability": "potentially_resectable_after_conversion",
    "surgery_recommended": True,
    "surgical_approach": {"answer": "stated", "text": "Two-stage hepatectomy, parenchyma-sparing on the left."},
    "conversion_strategy": {"answer": "stated", "text": "Four cycles of FOLFOX with bevacizumab, then restaging."},
    "additional_investigations": {"answer": "stated", "text": "Contrast MRI of the liver with DWI; CT volumetry."},
    "trial_eligibility": {"answer": "stated", "text": "None found on what was submitted."},
    "vascular_involvement": {"answer": "stated", "text": "Right hepatic vein abutted, not encased."},
    "future_liver_remnant": {"answer": "stated", "text": "To be measured; portal vein embolisation if below 30 %."},
    "circumferential_resection_margin": {"answer": "not_applicable", "why": "No rectal operation is in question."},
    "rationale": "Liver-only disease, four lesions, one hepatic vein free on the left. (An invented opinion.)",
}


def consent(kind: str, purpose: str, **more: Any) -> dict[str, Any]:
    """The body of a consent, with the SHA-256 of the text that the patient was shown."""
    shown = f"I consent to: {purpose}. I may withdraw at any time, without giving a reason."
    return {"kind": kind, "purpose": purpose, "language": "en", "text_sha256": digest(shown), **more}
