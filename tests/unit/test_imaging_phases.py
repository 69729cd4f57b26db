"""Contrast phases: words in many languages first, then the clock, then the order."""

import time
from typing import Any

import msgspec
import pytest

from application.records.requirements import requirement
from domain.imaging.model import InstanceHeader
from domain.imaging.phases import Timed, detect, seconds_of
from domain.imaging.words import fold, has_word

WORDS = requirement("any").vocabulary


def timed(description: str = "", at: str = "101500", **changes: Any) -> Timed:
    """A stack of 200 mm as detection sees it."""
    header = InstanceHeader(
        series_description=description,
        contrast_start=changes.pop("start", ""),
        protocol_name=changes.pop("protocol", ""),
    )
    facts: dict[str, Any] = {"contrast": "given", "day": "2026-01-05", "extent": 200.0, "layer": 0, "layers": 1}
    return Timed(header=header, acquired_s=seconds_of(at), **{**facts, **changes})


def phases(*stacks: Timed) -> list[tuple[str, str]]:
    """What detection makes of the stacks."""
    detect(stacks, WORDS)
    return [(stack.phase, stack.by) for stack in stacks]


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("ABD ART 1.0 B30f", "arterial"),
        ("Leber spaet 2.5 B30f", "delayed"),
        ("Abdomen spät venös 3.0", "delayed"),
        ("late venous 2.0", "delayed"),
        ("late portal venous", "portal"),
        ("fase venosa tardía", "delayed"),
        ("Ax LAVA +C 1min", "portal"),
        ("+C Ax LAVA 3 min", "delayed"),
        ("Frühart. Leber", "arterial"),
        ("Venózní fáze", "portal"),
        ("Artériás fázis", "arterial"),
        ("portovenøs fase", "portal"),
        ("Венозна фаза", "portal"),
        ("فاز شریانی", "arterial"),
        ("Late arterial 2.5mm", "arterial"),
        ("Oberbauch spätarteriell", "arterial"),
        ("Oberbauch Spätphase", "delayed"),
        ("Leber portalvenös 3.0", "portal"),
        ("Abdomen nativ 5mm", "plain"),
        ("FOIE TEMPS ARTERIEL", "arterial"),
        ("temps portal", "portal"),
        ("temps tardif", "delayed"),
        ("sans injection", "plain"),
        ("fase arterial tardía", "arterial"),
        ("fase venosa portal", "portal"),
        ("sin contraste", "plain"),
        ("fase arteriosa", "arterial"),
        ("fase portale", "portal"),
        ("fase tardiva", "delayed"),
        ("faza tętnicza", "arterial"),
        ("faza żylna", "portal"),
        ("артериальная фаза", "arterial"),
        ("Портальная фаза", "portal"),
        ("отсроченная фаза", "delayed"),
        ("нативная фаза", "plain"),
        ("αρτηριακή φάση", "arterial"),
        ("πυλαία φάση", "portal"),
        ("الطور الشرياني", "arterial"),
        ("الطور الوريدي", "portal"),
        ("上腹部动脉期", "arterial"),
        ("门静脉期 1mm", "portal"),
        ("延迟期", "delayed"),
        ("平扫", "plain"),
        ("動脈相", "arterial"),
        ("門脈相", "portal"),
        ("平衡相", "delayed"),
        ("肝細胞相", "hepatobiliary"),
        ("동맥기", "arterial"),
        ("문맥기", "portal"),
        ("지연기", "delayed"),
        ("T1 VIBE 20min HBP", "hepatobiliary"),
        ("Abdomen 70s", "portal"),
        ("Abd 35 sec", "arterial"),
        ("Pancreatic phase", "arterial"),
        ("CT Body 3.0", "unknown"),
        ("Spatial 1.0", "unknown"),
        ("Triphasic liver arterial", "unknown"),
        ("Heart artifact reduction", "unknown"),
        ("0.5 s rotation", "unknown"),
    ],
)
def test_words_tell_the_phase(text: str, phase: str) -> None:
    """Each language's word for a phase is understood, and words that only look alike are not."""
    assert phases(timed(text))[0][0] == phase


@pytest.mark.parametrize(
    ("at", "phase"),
    [
        ("101535", "arterial"),
        ("101545", "arterial"),
        ("101610", "portal"),
        ("101636", "portal"),
        ("101800", "delayed"),
        ("103500", "hepatobiliary"),
        ("101400", "plain"),
        ("101505", "unknown"),
        ("123000", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_clock_tells_the_phase(at: str, phase: str) -> None:
    """Seconds after the start of injection tell the phase where words do not."""
    assert phases(timed(at=at, start="101500.000000"))[0][0] == phase


def test_words_come_before_the_clock() -> None:
    """A series that names its phase is believed even when the clock says otherwise."""
    assert phases(timed("portal venous", at="101535", start="101500")) == [("portal", "words")]


def test_the_series_own_words_come_before_its_protocol() -> None:
    """A protocol names the whole examination; the series' description is nearer."""
    assert phases(timed("arterial", protocol="Liver portal venous")) == [("arterial", "words")]
    assert phases(timed("1.0 B30", protocol="Liver portal venous")) == [("portal", "words")]


def test_midnight_does_not_undo_the_clock() -> None:
    """An injection before midnight and a scan after it are seconds apart."""
    assert phases(timed(at="000010", start="235930")) == [("arterial", "timing")]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["101000", "101535", "101610"], ["plain", "arterial", "portal"]),
        (["101535", "101610", "101800"], ["arterial", "portal", "delayed"]),
        (["101000", "101535", "101610", "101800"], ["plain", "arterial", "portal", "delayed"]),
        (["101535", "101610"], ["unknown", "unknown"]),
        (["101535"], ["unknown"]),
        (["101535", "102535"], ["unknown", "unknown"]),
    ],
)
def test_order_tells_the_phase_only_where_its_pauses_fit(times: list[str], expected: list[str]) -> None:
    """Three series with the pauses of a dynamic examination are told; two could be anything."""
    assert [phase for phase, _ in phases(*(timed(at=time) for time in times))] == expected


def test_a_known_phase_anchors_the_others() -> None:
    """A series 35 s before a portal venous one is arterial, one two minutes after it is delayed."""
    found = phases(timed(at="101535"), timed("portal", at="101610"), timed(at="101810"))
    assert found == [("arterial", "order"), ("portal", "words"), ("delayed", "order")]


def test_another_extent_or_day_is_no_neighbour() -> None:
    """Order is read only among series of the same day and a like extent."""
    short = timed(at="101535", extent=40.0)
    other = timed(at="101535", day="2026-01-06")
    assert [phase for phase, _ in phases(short, other, timed("portal", at="101610"))][:2] == ["unknown"] * 2


def test_a_series_without_agent_before_all_others_is_plain() -> None:
    """The series that names no agent, before the ones that do, was acquired before contrast."""
    found = phases(timed(at="100000", contrast="unknown", extent=120.0), timed("portal", at="101610"))
    assert found[0] == ("plain", "order")


def test_time_points_of_a_dynamic_series_are_told_by_their_rank() -> None:
    """Four time points of a series called dynamic are plain, arterial, portal and delayed."""
    series = [timed("t1 vibe dyn", at="", layer=index, layers=4) for index in range(4)]
    assert [phase for phase, _ in phases(*series)] == ["plain", "arterial", "portal", "delayed"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("101530", 36930.0), ("10:15:30.5", 36930.5), ("1015", 36900.0), ("", None), ("996060", None), ("abc", None)],
)
def test_times_are_read_as_dicom_writes_them(text: str, seconds: float | None) -> None:
    """HHMMSS with a fraction, the old form with colons, and nothing else."""
    assert seconds_of(text) == seconds


def test_folding_keeps_what_tells_words_apart() -> None:
    """Case, accents and punctuation go; digits stand apart; a trailing plus or minus is a word."""
    assert fold("T2_TSE (Höhe)") == " t 2 tse hohe "
    assert fold("Abdomen C+") == " abdomen c plus "
    assert fold("KM- 3.0") == " km minus 3 0 "
    assert has_word("Arteriell", ("arter*",))
    assert not has_word("Arteriell", ("arter",))


def test_results_do_not_depend_on_the_order_of_stacks() -> None:
    """The same stacks in another order get the same phases."""
    stacks = [timed(at=at) for at in ("101000", "101535", "101610", "101800")]
    forward = [phase for phase, _ in phases(*[msgspec.structs.replace(s) for s in stacks])]
    backward = [phase for phase, _ in phases(*[msgspec.structs.replace(s) for s in reversed(stacks)])]
    assert forward == backward[::-1]


def test_midnight_between_scan_and_injection_changes_nothing() -> None:
    """A scan before midnight came before an injection after it, and one after midnight after one before it."""
    assert phases(timed(at="235900", start="000030")) == [("plain", "timing")]
    assert phases(timed(at="000035", start="235930")) == [("portal", "timing")]


def test_thousands_of_stacks_take_seconds() -> None:
    """As many stacks of one day as a hostile file can hold are compared in time that grows with their number."""
    many = [timed(at="101500", layer=index, extent=200.0 + index / 8) for index in range(20_000)]
    began = time.process_time()
    detect(many, WORDS)
    assert time.process_time() - began < 10
