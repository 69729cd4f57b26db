"""`caseledger demo-data`: cases of people who do not exist, in the format that `caseledger import` takes.

The same seed gives the same bytes, and the first lines are the same however many follow. Nothing in them is of a real
person: every name begins with "Invented", every centre is one of nowhere.
"""

import random
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from typing import BinaryIO, NamedTuple, get_args

import msgspec

from application.cases import PatientInput
from application.importing.line import CaseLine
from application.importing.source import MAX_LINES
from domain.case.commands import OpenCaseInput, RecordOriginalVerdict
from domain.case.events import Reason
from domain.errors import InvalidInput
from domain.values import Organ, Resectability

MAX_SEED = 2**53
_FIRST_BIRTH = date(1935, 1, 1)
_BIRTH_DAYS = 60 * 365
_FIRST_OPENING = date(2025, 7, 1)
_OPENING_DAYS = 180
_NO_VERDICT = 0.1
"""Share of the cases whose first centre said nothing that could be recorded."""


class _Disease(NamedTuple):
    organ: Organ
    diagnosis: str


_DISEASES = (
    _Disease("liver", "Colorectal liver metastases, bilobar"),
    _Disease("liver", "Colorectal liver metastases, six segments"),
    _Disease("liver", "Hepatocellular carcinoma with portal vein involvement"),
    _Disease("liver", "Neuroendocrine liver metastases"),
    _Disease("bile_duct", "Perihilar cholangiocarcinoma, Bismuth IV"),
    _Disease("bile_duct", "Gallbladder carcinoma with liver invasion"),
    _Disease("pancreas", "Pancreatic ductal adenocarcinoma, borderline resectable"),
    _Disease("pancreas", "Pancreatic ductal adenocarcinoma, locally advanced"),
    _Disease("colon", "Locally advanced carcinoma of the sigmoid colon"),
    _Disease("rectum", "Low rectal carcinoma, circumferential margin threatened"),
    _Disease("lung", "Non-small-cell lung carcinoma, stage IIIA"),
    _Disease("oesophagus", "Squamous cell carcinoma of the oesophagus"),
    _Disease("stomach", "Gastric adenocarcinoma, linitis plastica"),
    _Disease("peritoneum", "Pseudomyxoma peritonei"),
    _Disease("soft_tissue", "Retroperitoneal liposarcoma, recurrent"),
    _Disease("other", "Adrenocortical carcinoma with caval thrombus"),
)
_REASONS: tuple[Reason, ...] = (
    "told_unresectable",
    "told_unresectable",
    "told_unresectable",
    "rare_or_complex_cancer",
    "major_high_risk_operation",
    "surgeon_little_experience",
    "plan_changed_much",
)
_UNRESECTABLE: tuple[Resectability, ...] = ("unresectable", "unresectable", "locally_advanced", "metastatic")
_ANY: tuple[Resectability, ...] = get_args(Resectability)
_COUNTRIES = ("GB", "US", "DE", "FR", "CA", "AU", "AE", "KE", "NG", "BD", "LK", "NP", "ID", "PH", "IN", "CN")
_GIVEN = (
    "Ada Bela Cora Dario Edda Fenno Gita Hanno Ilka Joris Kalinda Lior Mirza Nadja Otto Pavi Quirin Runa Selim Tamsin"
    " Ulla Varun Wenke Xaver Yara Zoltan"
).split()
_FAMILY = (
    "Almost Bystander Cloud Doe Example Fable Ghost Hypothesis Imagined Jest Kite Legend Muster Nobody Otherwise"
    " Placeholder Quasi Random Sample Testcase Unreal Virtual Whatif Xample Yonder Zero"
).split()
_PLACES = ("Nowhere", "Erewhon", "Sampleton", "Neverfield", "Mockham", "Farfalle Bay", "Blankenburg-Nirgends", "Utopia")
_CENTRES = ("Invented General Hospital of {}", "Invented Cancer Centre of {}", "Invented University Clinic, {}")
_WORDS = (
    "",
    "",
    "Invented letter: not a candidate for resection at this time.",
    "Invented letter: discussed by the tumour board, systemic therapy advised.",
)


def run(cases: int, seed: int, out: BinaryIO | None = None) -> int:
    """Write so many lines.

    Raises:
        InvalidInput: none, or more than an import takes; or a seed that is none.
    """
    if not 1 <= cases <= MAX_LINES:
        raise InvalidInput(f"--cases is a number from 1 to {MAX_LINES:,}: as many as an import takes")
    if not 0 <= seed < MAX_SEED:
        raise InvalidInput(f"--seed is a number from 0 to {MAX_SEED - 1}")
    out = out or sys.stdout.buffer
    for line in lines(cases, seed):
        out.write(msgspec.json.encode(line) + b"\n")
    out.flush()
    return 0


def lines(cases: int, seed: int) -> Iterator[CaseLine]:
    """Invented cases, no two of which are likely to be of one person."""
    chance = random.Random(seed)  # noqa: S311 - it has to be foreseeable
    for number in range(1, cases + 1):
        yield _line(chance, f"{seed}-{number}")


def _line(chance: random.Random, name: str) -> CaseLine:
    disease = chance.choice(_DISEASES)
    reason = chance.choice(_REASONS)
    opened = _FIRST_OPENING + timedelta(days=chance.randrange(_OPENING_DAYS))
    born = _FIRST_BIRTH + timedelta(days=chance.randrange(_BIRTH_DAYS))
    verdict = RecordOriginalVerdict(
        verdict=chance.choice(_UNRESECTABLE if reason == "told_unresectable" else _ANY),
        centre=chance.choice(_CENTRES).format(chance.choice(_PLACES)),
        decided_on=(opened - timedelta(days=chance.randrange(1, 120))).isoformat(),
        words=chance.choice(_WORDS),
    )
    return CaseLine(
        reference=f"demo-{name}",
        opened_on=opened.isoformat(),
        patient=PatientInput(
            name=f"Invented {chance.choice(_GIVEN)} {chance.choice(_FAMILY)} {name}",
            born_on=born.isoformat(),
            account=f"demo-{name}",
        ),
        case=OpenCaseInput(
            reason=reason, diagnosis=disease.diagnosis, organ=disease.organ, home_country=chance.choice(_COUNTRIES)
        ),
        original_verdict=None if chance.random() < _NO_VERDICT else verdict,
    )
