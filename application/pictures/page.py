"""The one-page report that a person prints: what the check found, in its own sentences. Pure text from plain values.

It loads nothing: its style stands in it (`STYLE_SOURCE` is its hash for a Content-Security-Policy), and thumbnails are
data URIs. Whatever came out of a header is escaped. It names the case and never the patient.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

import msgspec

from domain.imaging.findings import SEVERITIES, Finding, Report, SeriesRow, Severity, Verdict, amount
from domain.imaging.model import InstanceHeader
from domain.imaging.stacks import series_key

NOTICE: Final = (
    "Information only. This page says what the headers of the image files show about their technical quality. It is no "
    "medical advice and no reading of the images, replaces no examination, and guarantees no outcome."
)
_VERDICTS: Final[dict[Verdict, tuple[str, str]]] = {
    "adequate": ("Adequate", "The images meet the requirements: an opinion can rest on them."),
    "limited": ("Limited", "An opinion is possible with the limits below, which a person has to accept."),
    "inadequate": (
        "Inadequate",
        "No definitive opinion is possible on these images; below is what to acquire or send.",
    ),
    "stop": ("Stop", "Nobody may look at these images before a person has cleared up whose they are."),
    "undetermined": ("Undetermined", "The headers cannot tell whether the images suffice; below is what to ask."),
}
_SEVERITIES: Final[dict[Severity, str]] = {
    "stop": "stop",
    "inadequate": "not sufficient",
    "ask": "to be asked",
    "limited": "limit",
    "note": "note",
}
_ROLES: Final = {
    "slice": "slices",
    "localizer": "scout",
    "screenshot": "screenshot",
    "picture": "single images",
    "projection": "projection",
    "monitoring": "bolus tracking",
    "no-image": "no image",
    "no-pixels": "header only",
}

_STYLE: Final = """
@page { size: A4; margin: 12mm; }
* { box-sizing: border-box; }
body { font: 10pt/1.4 "Helvetica Neue", Arial, "Noto Sans", sans-serif; color: #1a1a1a; background: #fff;
  max-width: 190mm; margin: 8mm auto; padding: 0 4mm; }
h1 { font-size: 14pt; margin: 0 0 1mm; } h2 { font-size: 11pt; margin: 5mm 0 1.5mm; }
p { margin: 0 0 1.5mm; } .small { font-size: 8pt; color: #444; }
.verdict { border: 1px solid #555; border-left-width: 3mm; padding: 2.5mm 4mm; margin: 3mm 0; break-inside: avoid; }
.verdict b { font-size: 13pt; } .adequate { border-left-color: #1d7a3a; } .limited { border-left-color: #b07a00; }
.inadequate, .stop { border-left-color: #b3261e; } .undetermined { border-left-color: #44546a; }
table { border-collapse: collapse; width: 100%; } thead { display: table-header-group; }
th { text-align: left; font-size: 8pt; border-bottom: 1px solid #555; padding: 1mm 2mm 1mm 0; vertical-align: bottom; }
td { border-bottom: 1px solid #ccc; padding: 1.2mm 2mm 1.2mm 0; vertical-align: top; overflow-wrap: anywhere; }
tr { break-inside: avoid; } td.n, th.n { text-align: right; white-space: nowrap; } td.w { white-space: nowrap; }
.series td { font-size: 8.5pt; } .series img { width: 16mm; height: 16mm; display: block; background: #000; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .6mm 5mm; margin: 0; font-size: 8.5pt; }
dt { color: #444; } dd { margin: 0; overflow-wrap: anywhere; } .tag { font-size: 8pt; font-weight: 600; }
.notice { border-top: 1px solid #555; margin-top: 5mm; padding-top: 2mm; font-size: 8.5pt; }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 9pt; line-height: 1.3;
  print-color-adjust: exact; } td { padding-top: .7mm; padding-bottom: .7mm; } h2 { margin: 3.5mm 0 1mm; } }
"""
STYLE_SOURCE: Final = f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the page says beside the report: which record it is about, and what stands on record now."""

    case: str
    record: str
    manifest_sha256: str
    report_sha256: str
    headers: tuple[InstanceHeader, ...]
    files: int
    bytes: int
    verdict: Verdict
    """On record now: the check's, unless a technician overruled it."""
    accepted_limits: tuple[str, ...] = ()


def page(report: Report, facts: Facts, thumbnails: Mapping[str, bytes]) -> str:
    """The page of one record; `thumbnails` are PNGs by series.

    Warning: a check looks at a whole case. Series of other records, and what was found in them, are only counted: who
    may read this record may not be one who may read those.
    """
    own = _own_series(facts.headers)
    rows = [each for each in report.series if _series(each.series) in own]
    findings = [each for each in report.findings if not each.series or _series(each.series) in own]
    elsewhere = len(report.findings) - len(findings)
    labels = {each.series: each.label for each in rows}
    title, meaning = _VERDICTS[facts.verdict]
    dot = " \N{MIDDLE DOT} "
    about = f"Case {escape(facts.case)}{dot}record {escape(facts.record)}{dot}requirements for {escape(report.site)}, "
    about += f"version {report.requirement}{dot}reference date {escape(report.on)}"
    told = f"<b>{title}</b><p>{meaning}</p>{_overruled(report, facts)}"
    head, _, rest = NOTICE.partition(".")
    parts = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>Imaging check, case {escape(facts.case)}</title><style>{_STYLE}</style></head><body>",
        f'<h1>Imaging quality check</h1><p class="small">{about}</p>',
        f'<section class="verdict {facts.verdict}">{told}</section>',
        "<h2>Findings</h2>",
        _findings(findings, labels),
        _elsewhere(elsewhere),
        _limits(facts.accepted_limits),
        "<h2>Series</h2>",
        _table(rows, thumbnails),
        "<h2>Key facts</h2>",
        _facts(report, facts),
        f'<p class="notice"><b>{head}.</b>{rest}</p></body></html>',
    )
    return "\n".join(part for part in parts if part) + "\n"


def _own_series(headers: Sequence[InstanceHeader]) -> set[str]:
    return {series_key(each) for each in headers}


def _series(key: str) -> str:
    """The series of a stack: its row is numbered where a series has several."""
    series, mark, number = key.rpartition("#")
    return series if mark and number.isdigit() else key


def _overruled(report: Report, facts: Facts) -> str:
    if facts.verdict == report.verdict:
        return ""
    return f"<p>The check itself found: {report.verdict}. A person has decided otherwise, with a reason on record.</p>"


def _findings(findings: Sequence[Finding], labels: Mapping[str, str]) -> str:
    if not findings:
        return "<p>Nothing was found that would limit an opinion.</p>"
    ordered = sorted(findings, key=lambda each: SEVERITIES.index(each.severity))
    lines = [
        f'<tr><td class="tag w">{_SEVERITIES[each.severity]}</td><td>{escape(each.message)}'
        f'<br><span class="small">{escape(_measured(each, labels))}</span></td></tr>'
        for each in ordered
    ]
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _measured(finding: Finding, labels: Mapping[str, str]) -> str:
    """Code, series, measured value, limit and source of a finding, as far as there are any."""
    told = [finding.code]
    if finding.series and (label := labels.get(finding.series)) and label not in finding.message:
        told.append(label)
    # A value in words (the phase that is missing, the region) stands in the sentence already.
    if finding.value[:1].isdigit():
        told.append(f"measured {amount(finding.value, finding.unit)}")
    if finding.limit[:1].isdigit():
        told.append(f"limit {amount(finding.limit, finding.unit)}")
    if finding.source:
        told.append("source: the service's own default" if finding.source == "J" else f"source: {finding.source}")
    return " \N{MIDDLE DOT} ".join(told)


def _elsewhere(count: int) -> str:
    if not count:
        return ""
    told = "1 finding concerns" if count == 1 else f"{count} findings concern"
    return f'<p class="small">{told} another record of the case, and the verdict rests on that as well.</p>'


def _limits(limits: Sequence[str]) -> str:
    if not limits:
        return ""
    return f"<p>Accepted limits: {escape('; '.join(limits))}</p>"


def _table(rows: Sequence[SeriesRow], thumbnails: Mapping[str, bytes]) -> str:
    if not rows:
        return "<p>There is no series of images in this record.</p>"
    heads = ("", "Series", "Use", "Plane")
    numbers = ("Images", "Slice mm", "Spacing mm", "Extent mm", "Pixel mm")
    head = "".join(f"<th>{each}</th>" for each in heads) + "".join(f'<th class="n">{each}</th>' for each in numbers)
    lines = [
        f"<tr><td>{_picture(thumbnails.get(_series(each.series)))}</td><td>{escape(each.label)}"
        f'<br><span class="small">{escape(_described(each))}</span></td>'
        f'<td class="w">{escape(_ROLES.get(each.role, each.role))}</td>'
        f"<td>{escape(each.plane)}</td>"
        + "".join(
            f'<td class="n">{escape(value)}</td>'
            for value in (
                str(each.slices or each.instances),
                each.thickness_mm,
                each.spacing_mm,
                each.extent_mm,
                each.pixel_mm,
            )
        )
        + "</tr>"
        for each in rows
    ]
    return f'<table class="series"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _picture(png: bytes | None) -> str:
    if png is None:
        return ""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _described(row: SeriesRow) -> str:
    phase = f"phase {row.phase.replace('_', ' ')} (by {row.phase_by})" if row.phase and row.phase_by else row.phase
    tilt = f"tilt {row.tilt_deg}\N{DEGREE SIGN}" if row.tilt_deg not in ("", "0") else ""
    told = (row.date, f"matrix {row.matrix}" if row.matrix else "", tilt, phase, ", ".join(row.sequences))
    used = "judged for the requirements" if row.used_for else ""
    return " \N{MIDDLE DOT} ".join(each for each in (*told, used) if each)


def _facts(report: Report, facts: Facts) -> str:
    files = report.files
    counted = f"{facts.files} ({_size(facts.bytes)}) in this record"
    unread = files.get("unreadable", 0) + files.get("not_dicom", 0)
    facts_shown = (
        ("Study", _several(each.study_description for each in facts.headers)),
        ("Study date", _several(_day(each.study_date) for each in facts.headers)),
        ("Modality", _several(each.modality for each in facts.headers)),
        ("Manufacturer", _several(each.manufacturer for each in facts.headers)),
        ("Contrast", _several(each.contrast_agent for each in facts.headers) or "not stated in the headers"),
        ("Files", counted + (f"; {unread} of all that were checked could not be read" if unread else "")),
        ("Record SHA-256", facts.manifest_sha256),
        ("Report SHA-256", facts.report_sha256),
    )
    return (
        "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts_shown if value) + "</dl>"
    )


def _several(values: Iterable[str]) -> str:
    """Distinct values in order, the first few of them."""
    distinct = list(dict.fromkeys(each for each in values if each))
    return "; ".join(distinct[:4]) + (f" and {len(distinct) - 4} more" if len(distinct) > 4 else "")


def _day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) >= 8 and text[:8].isdigit() else text


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB" if count >= 100_000 else f"{count} bytes"
