"""The check, trap by trap: each real file that fooled somebody, as a small synthetic one."""

from datetime import date
from typing import Any

import msgspec
import pytest

from application.records.requirements import requirement, sites
from domain.imaging.check import check, encode
from domain.imaging.findings import CODES, SEVERITIES, Report
from domain.imaging.model import Frame, Instance, InstanceHeader, PatientIdentity
from tests.synthetic_dicom import MR, Series, files_of, instance, instances_of, read, triple_phase

ON = date(2026, 1, 20)
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def judge(instances: list[Instance], site: str = "any", on: date = ON, **more: Any) -> Report:
    """The report on a site, checked for what every report must be."""
    report = check(instances, requirement(site), on, **more)
    assert set(report.codes()) <= set(CODES)
    for finding in report.findings:
        assert finding.severity in SEVERITIES
        assert finding.message.endswith(".")
        assert "\n" not in finding.message
    ranks = [(SEVERITIES.index(finding.severity), finding.code, finding.series) for finding in report.findings]
    assert ranks == sorted(ranks)
    assert msgspec.json.decode(encode(report), type=Report) == report
    return report


def codes(report: Report) -> set[str]:
    """Codes of a report without the notes that every synthetic liver earns."""
    return set(report.codes()) - {"PHI_PRESENT", "THICK_FOR_VOLUMETRY"}


def changed(instances: list[Instance], index: int, **changes: Any) -> list[Instance]:
    """The instances with one header changed."""
    header = instances[index].header
    assert header is not None
    return [*instances[:index], instance(msgspec.structs.replace(header, **changes)), *instances[index + 1 :]]


def test_a_triple_phase_liver_is_adequate() -> None:
    """Real files of three timed phases, thin and long enough, earn nothing but two notes."""
    files = {name: content for series in triple_phase() for name, content in files_of(series).items()}
    report = judge(read(files), "liver-ct")
    assert report.verdict == "adequate"
    assert report.codes() == ("PHI_PRESENT", "THICK_FOR_VOLUMETRY")
    assert [row.phase for row in report.series] == ["arterial", "portal", "delayed"]
    assert report.files["dicom"] == 270


def test_the_order_of_files_changes_nothing() -> None:
    """The same files in any order give the same bytes."""
    instances = instances_of(*triple_phase())[::3]
    expected = encode(judge(instances, "liver-ct"))
    assert encode(judge(instances[::-1], "liver-ct")) == expected
    assert encode(judge(instances[100:] + instances[:100], "liver-ct")) == expected


def test_thin_slices_serve_volumetry() -> None:
    """With 1.25 mm slices nothing is said about volumetry."""
    thin = [msgspec.structs.replace(s, thickness=1.25, step=1.25, count=180) for s in triple_phase()]
    assert judge(instances_of(*thin), "liver-ct").codes() == ()


def test_either_examination_of_the_liver_will_do() -> None:
    """Asked for the liver, a good CT is judged as CT, and an MRI as MRI."""
    assert judge(instances_of(*triple_phase()), "liver").site == "liver-ct"
    report = judge(instances_of(Series(sop_class=MR, modality="MR", description="t2 ax")), "liver")
    assert (report.site, report.verdict) == ("liver-mr", "inadequate")


@pytest.mark.parametrize(
    ("dropped", "code", "verdict"),
    [
        (0, "PHASE_ARTERIAL_MISSING", "inadequate"),
        (1, "PHASE_PORTAL_MISSING", "inadequate"),
        (2, "PHASE_DELAYED_MISSING", "limited"),
    ],
)
def test_a_missing_phase_is_named(dropped: int, code: str, verdict: str) -> None:
    """When the phases of the others are known, the one that is not there is missing."""
    series = triple_phase()
    report = judge(instances_of(*series[:dropped], *series[dropped + 1 :]), "liver-ct")
    assert (report.verdict, codes(report)) == (verdict, {code})


def test_an_unknown_phase_is_asked_for_and_not_missing() -> None:
    """A series that does not show its phase makes the phases unknown, never absent."""
    series = msgspec.structs.replace(triple_phase()[1], injected="")
    report = judge(instances_of(series), "liver-ct")
    assert report.verdict == "undetermined"
    assert codes(report) == {"PHASE_UNKNOWN"}


@pytest.mark.parametrize(
    ("thickness", "verdict", "found"),
    [(3.0, "adequate", False), (3.1, "limited", True), (5.0, "limited", True), (5.5, "inadequate", True)],
)
def test_thick_slices_have_two_limits(thickness: float, verdict: str, found: bool) -> None:
    """Over 3 mm a liver CT is limited, over 5 mm inadequate."""
    report = judge(instances_of(*[msgspec.structs.replace(s, thickness=thickness) for s in triple_phase()]), "liver-ct")
    assert (report.verdict, "THICK_SLICES" in codes(report)) == (verdict, found)


def test_thin_slices_far_apart_are_thick_for_the_purpose() -> None:
    """A slice of 1 mm every 10 mm shows no more than a slice of 10 mm."""
    report = judge(instances_of(Series(thickness=1.0, step=10.0, count=30)), "stomach-ct")
    assert "THICK_SLICES" in codes(report)


def test_the_better_reconstruction_counts() -> None:
    """A thick reconstruction beside a thin one of the same phase does no harm."""
    thick = [
        msgspec.structs.replace(s, number=s.number + 10, thickness=10.0, step=10.0, count=22) for s in triple_phase()
    ]
    report = judge(instances_of(*triple_phase(), *thick), "liver-ct")
    assert report.verdict == "adequate"


def test_coverage_is_measured_along_the_normal() -> None:
    """Forty-one millimetres are no liver; nor are 90 slices whose table steps were oblique."""
    short = judge(instances_of(*[msgspec.structs.replace(s, count=16) for s in triple_phase()]), "liver-ct")
    assert short.verdict == "inadequate"
    assert codes(short) == {"COVERAGE_SHORT"}
    tilted = judge(instances_of(Series(count=75, tilt=25.0)), "liver-ct")
    assert "COVERAGE_SHORT" in codes(tilted)


def test_stations_of_one_scan_add_up() -> None:
    """Chest and abdomen in one frame of reference cover together what neither covers alone."""
    chest = Series(number=1, description="Thorax portal", start=250, count=80)
    belly = Series(number=2, description="Abdomen portal", count=100)
    both = instances_of(chest, belly, contrast_start="", acquisition_time="101610")
    assert "COVERAGE_SHORT" not in codes(judge(both, "colon-ct"))
    assert "COVERAGE_SHORT" in codes(judge(instances_of(belly, contrast_start=""), "colon-ct"))


@pytest.mark.parametrize(("days", "stale"), [(42, False), (43, True)])
def test_stale_begins_a_day_after_the_limit(days: int, stale: bool) -> None:
    """Six weeks are accepted, a day more is not."""
    instances = instances_of(*triple_phase(), acquisition_date="20260101", study_date="20260101")
    report = judge(instances, "liver-ct", date.fromordinal(date(2026, 1, 1).toordinal() + days))
    assert ("STALE" in codes(report)) is stale


@pytest.mark.parametrize("text", ["", "19000101", "20260230", "20270101"])
def test_a_date_that_is_none_is_asked_for(text: str) -> None:
    """A missing, impossible, placeholder or future date is unknown, not stale."""
    report = judge(instances_of(*triple_phase(), acquisition_date=text, study_date=text), "liver-ct")
    assert report.verdict == "undetermined"
    assert "DATE_UNKNOWN" in codes(report)
    assert "STALE" not in codes(report)


def test_derived_primary_is_no_exclusion() -> None:
    """Losslessly compressed CT says DERIVED and is judged like any other."""
    instances = instances_of(Series(image_type=("DERIVED", "PRIMARY", "AXIAL")), lossy="00")
    assert judge(instances).verdict == "adequate"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER"), "thickness": 0.625}, "LOCALIZER_ONLY"),
        ({"series_description": "SURVEY", "thickness": 15.0}, "LOCALIZER_ONLY"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 TOP")}, "LOCALIZER_ONLY"),
        ({"sop_class_uid": SECONDARY}, "SECONDARY_CAPTURE_ONLY"),
        ({"sop_class_uid": SECONDARY + ".2"}, "SECONDARY_CAPTURE_ONLY"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 MON")}, "NOT_A_VOLUME"),
        ({"image_type": ("DERIVED", "SECONDARY", "PROJECTION IMAGE")}, "NOT_A_VOLUME"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.1", "modality": "CR"}, "NOT_A_VOLUME"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4", "series_description": "Liver"}, "NO_DIAGNOSTIC_IMAGE"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.11", "modality": "SR"}, "NO_DIAGNOSTIC_IMAGE"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.481.3", "modality": "RTSTRUCT"}, "NO_DIAGNOSTIC_IMAGE"),
        ({"has_pixels": False}, "NO_PIXEL_DATA"),
        ({"position": (1.0, 2.0, 3.0)}, "NOT_A_VOLUME"),
    ],
)
def test_what_is_no_diagnostic_stack_says_why(changes: dict[str, Any], code: str) -> None:
    """Scouts, screenshots, projections, reports and headers without images are inadequate, each for its reason."""
    report = judge(instances_of(Series(count=40), **changes))
    assert report.verdict == "inadequate"
    assert code in codes(report)
    others = {"LOCALIZER_ONLY", "SECONDARY_CAPTURE_ONLY", "NO_DIAGNOSTIC_IMAGE", "NO_PIXEL_DATA"} - {code}
    assert not codes(report) & others


@pytest.mark.parametrize("changes", [{"position": ()}, {"image_type": ("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC")}])
def test_images_without_a_place_are_asked_about(changes: dict[str, Any]) -> None:
    """Slices that do not say where they lie, and mosaics of many, cannot be judged by their headers."""
    report = judge(instances_of(Series(count=40), **changes))
    assert (report.verdict, codes(report)) == ("undetermined", {"GEOMETRY_UNKNOWN"})


def test_a_survey_is_known_by_its_planes() -> None:
    """Three planes of few thick slices are a survey even when nothing says so."""
    planes = [(1.0, 0, 0, 0, 1, 0), (1.0, 0, 0, 0, 0, -1), (0, 1.0, 0, 0, 0, -1)]
    found = []
    for number, plane in enumerate(planes):
        for index, one in enumerate(instances_of(Series(count=5, thickness=15.0, sop_class=MR, modality="MR"))):
            assert one.header is not None
            place = tuple(15.0 * index if axis == 2 - number else 0.0 for axis in range(3))
            uid = f"{one.header.sop_instance_uid}.{number}"
            found.append(
                instance(msgspec.structs.replace(one.header, orientation=plane, position=place, sop_instance_uid=uid))
            )
    assert codes(judge(found)) == {"LOCALIZER_ONLY"}


def test_mixed_orientations_are_split() -> None:
    """A sagittal stack inside an axial series is judged by itself, and does not spoil the axial one."""
    axial = instances_of(Series(count=40))
    extra = []
    for index, one in enumerate(instances_of(Series(count=12, step=3.0))):
        assert one.header is not None
        extra.append(
            instance(
                msgspec.structs.replace(
                    one.header,
                    sop_instance_uid=f"{one.header.sop_instance_uid}.9",
                    orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
                    position=(3.0 * index, 0.0, 0.0),
                )
            )
        )
    report = judge(axial + extra)
    assert (report.verdict, codes(report)) == ("adequate", {"MIXED_ORIENTATION"})
    assert sorted(row.plane for row in report.series) == ["axial", "sagittal"]


def enhanced(repeats: int, count: int = 30) -> Instance:
    """One enhanced multi-frame MR image with the same positions `repeats` times."""
    frames = tuple(
        Frame(
            position=(0.0, 0.0, 3.0 * index),
            orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            pixel_spacing=(0.9, 0.9),
            thickness=3.0,
            time_index=moment + 1,
        )
        for moment in range(repeats)
        for index in range(count)
    )
    header = instances_of(Series(count=1, sop_class=MR + ".1", modality="MR"))[0].header
    assert header is not None
    return instance(
        msgspec.structs.replace(header, position=(), orientation=(), frames=len(frames), frame_geometry=frames)
    )


@pytest.mark.parametrize("repeats", [1, 4])
def test_repeated_positions_of_an_enhanced_image_are_time_points(repeats: int) -> None:
    """Frames at the same positions make several stacks, and no hole and no duplicate."""
    report = judge([enhanced(repeats)])
    assert (report.verdict, codes(report)) == ("adequate", set())
    assert [row.slices for row in report.series] == [30] * repeats


def test_numbers_prove_nothing() -> None:
    """A late first number is a hint; a gap in the numbers without a gap in space is not even that."""
    instances = instances_of(Series(count=30))
    for index in range(15, 30):
        instances = changed(instances, index, instance_number=index + 100)
    assert codes(judge(instances)) == set()
    late = instances_of(Series(count=30), instance_number=267)
    assert codes(judge(late)) == {"INSTANCE_NUMBERS_START_LATE"}
    assert judge(late).verdict == "adequate"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"contrast_agent": "APPLIED"}, False),
        ({"contrast_agent": "", "contrast_volume": 0.0}, True),
        ({"contrast_agent": "", "contrast_volume": 90.0}, False),
        ({"contrast_agent": "NONE"}, True),
        ({"contrast_agent": "", "series_description": "Thorax KM"}, False),
        ({"contrast_agent": "", "series_description": "Chest C+ 1.0"}, False),
        ({"contrast_agent": "APPLIED", "series_description": "Thorax nativ"}, True),
    ],
)
def test_contrast_needs_evidence(changes: dict[str, Any], found: bool) -> None:
    """A volume of 0 is no contrast, an agent APPLIED is, and a series that says plain is plain."""
    facts = {"contrast_start": "", "body_part": "CHEST", **changes}
    report = judge(instances_of(Series(count=130, thickness=2.5), **facts), "oesophagus-ct")
    assert ("NO_CONTRAST_EVIDENCE" in codes(report)) is found


@pytest.mark.parametrize(
    ("body_part", "description", "code"),
    [
        ("BRAIN", "STD BRAIN 1MM", "WRONG_ANATOMY"),
        ("HEAD", "", "WRONG_ANATOMY"),
        ("", "Schädel axial", "WRONG_ANATOMY"),
        ("PARTIALBODY", "CT Body 3.0", "ANATOMY_UNKNOWN"),
        ("LIVER", "", ""),
        ("", "Печень артериальная", ""),
        ("", "上腹部", ""),
        ("CHEST", "", "WRONG_ANATOMY"),
    ],
)
def test_anatomy_is_read_from_labels(body_part: str, description: str, code: str) -> None:
    """Another region is wrong, no region is unknown, in whatever language it is written."""
    series = [msgspec.structs.replace(s, body_part=body_part, description=description) for s in triple_phase()]
    report = judge(instances_of(*series), "liver-ct")
    assert codes(report) & {"WRONG_ANATOMY", "ANATOMY_UNKNOWN"} == ({code} if code else set())
    assert all(each.source for each in report.findings if each.limit)


def test_a_long_scan_of_the_trunk_may_be_more_than_its_label() -> None:
    """Half a metre labelled CHEST may hold the liver: that is asked, not refused."""
    series = [msgspec.structs.replace(s, body_part="CHEST", count=200) for s in triple_phase()]
    assert codes(judge(instances_of(*series), "liver-ct")) == {"ANATOMY_UNKNOWN"}


def test_two_patients_stop_everything() -> None:
    """Two patients in one study stop the case, whatever else is well."""
    instances = instances_of(*triple_phase())
    other = PatientIdentity(patient_id="OTHER", name="Somebody^Else", digest="d2")
    report = judge(changed(instances, 5, patient=other), "liver-ct")
    assert report.verdict == "stop"
    assert "IDENTITY_MISMATCH" in codes(report)
    assert "Somebody" not in encode(report).decode()


def test_the_cases_own_patient_is_compared() -> None:
    """Another name or birth date than the case's stops; a header that says nothing is asked about."""
    instances = instances_of(Series(count=20))
    same = PatientIdentity(name="NOPATIENT^SYNTHETIC", birth_date="19500101")
    assert judge(instances, case_patient=same).verdict == "adequate"
    other = PatientIdentity(name="Perez^Maria", birth_date="19500101")
    assert judge(instances, case_patient=other).verdict == "stop"
    nameless = instances_of(Series(count=20), patient=PatientIdentity())
    assert judge(nameless, case_patient=other).verdict == "undetermined"


def test_duplicates_are_told_apart_from_contradictions() -> None:
    """The same bytes again are dropped; other bytes under the same UID are asked about."""
    instances = instances_of(Series(count=20))
    again = msgspec.structs.replace(instances[3], name="again.dcm")
    report = judge([*instances, again])
    assert (report.verdict, codes(report)) == ("adequate", {"DUPLICATE_INSTANCE"})
    header = instances[3].header
    assert header is not None
    forged = instance(msgspec.structs.replace(header, kernel="B99"))
    report = judge([*instances, forged])
    assert (report.verdict, codes(report)) == ("undetermined", {"DUPLICATE_UID_DIFFERENT_BYTES"})


def test_the_rest_of_the_batch_goes_on() -> None:
    """A broken file and a PDF are counted and named; the stack beside them is judged."""
    broken = Instance(name="x.dcm", sha256="0" * 64, size=9, problem="unreadable-dicom", reason="it is corrupt")
    paper = Instance(name="letter.pdf", sha256="1" * 64, size=9, problem="not-dicom", reason="a PDF document")
    folder = Instance(name="CD/DICOMDIR", sha256="2" * 64, size=0, problem="not-dicom", reason="empty")
    index = instance(InstanceHeader(is_directory=True))
    report = judge([*instances_of(Series(count=20)), broken, paper, folder, index])
    assert (report.verdict, codes(report)) == ("limited", {"UNREADABLE", "NOT_DICOM"})
    assert report.files == {"total": 24, "dicom": 20, "skipped": 2, "not_dicom": 1, "unreadable": 1}


@pytest.mark.parametrize(
    "facts",
    [
        {"pixel_offset": 1000, "pixel_length": 2_000_000, "pixel_expected": 524_288},
        {"pixel_offset": 900_000, "pixel_length": 100_000, "pixel_expected": 524_288},
        {"pixel_offset": 999_990, "pixel_expected": 8_600_000_000, "transfer_syntax": "1.2.840.10008.1.2.4.50"},
    ],
)
def test_a_cut_off_picture_is_unreadable(facts: dict[str, Any]) -> None:
    """A file that is shorter than the picture that it announces cannot be opened, however good its header."""
    report = judge(instances_of(Series(count=20), **facts))
    assert report.verdict == "inadequate"
    assert "UNREADABLE" in codes(report)
    assert report.files["unreadable"] == 20


@pytest.mark.parametrize(
    ("changes", "code", "verdict"),
    [
        ({"lossy": "01"}, "LOSSY", "limited"),
        ({"transfer_syntax": "1.2.840.10008.1.2.4.50"}, "LOSSY", "limited"),
        ({"transfer_syntax": "1.2.840.10008.1.2.4.91", "lossy": "00"}, "", "adequate"),
        ({"transfer_syntax": "1.2.840.10008.1.2.4.100"}, "UNSUPPORTED_SYNTAX", "inadequate"),
        ({"uids_missing": ("StudyInstanceUID",)}, "UID_MISSING", "limited"),
        ({"burned_in": "YES"}, "BURNED_IN", "adequate"),
        ({"study_instances": 21}, "COUNT_SHORT", "limited"),
        ({"study_instances": 20}, "", "adequate"),
        ({"thickness": None}, "THICKNESS_UNKNOWN", "adequate"),
    ],
)
def test_a_fact_earns_its_code(changes: dict[str, Any], code: str, verdict: str) -> None:
    """One changed fact in an otherwise good stack is found, and nothing besides."""
    report = judge(instances_of(Series(count=20), **changes))
    assert (report.verdict, codes(report)) == (verdict, {code} if code else set())


def test_coarse_pixels_and_small_matrices_are_found() -> None:
    """A CT pixel above 1 mm, or a matrix below 256, is low resolution."""
    for change in ({"pixel": 1.2}, {"rows": 128, "pixel": 0.9}):
        series = [msgspec.structs.replace(s, **change) for s in triple_phase()]
        report = judge(instances_of(*series), "liver-ct")
        assert (report.verdict, codes(report)) == ("limited", {"LOW_INPLANE_RES"})


def test_studies_of_different_years_are_noted() -> None:
    """An old study beside the current one is named; the current one is judged."""
    old = Series(study=2, number=9, date="20200101", description="Abdomen portal")
    report = judge(instances_of(*triple_phase(), old), "liver-ct")
    assert (report.verdict, codes(report)) == ("adequate", {"STUDIES_FAR_APART"})


def rectum(*series: Series) -> list[Instance]:
    """MR series turned into the planes that their descriptions name."""
    planes = {"sag": (0, 1.0, 0, 0, 0, -1), "cor": (1.0, 0, 0, 0, 0, -1), "ax": (1.0, 0, 0, 0, 1, 0)}
    axis = {"sag": 0, "cor": 1, "ax": 2}
    found = []
    for one in series:
        name = next(plane for plane in planes if plane in one.description)
        for index, made in enumerate(instances_of(one)):
            assert made.header is not None
            place = tuple(one.step * index if axis[name] == position else 0.0 for position in range(3))
            changes: dict[str, Any] = {"orientation": planes[name], "position": place}
            if "dwi" in made.header.series_description:
                changes |= {"diffusion": True, "b_value": 1000.0 if "b1000" in one.description else 400.0}
            found.append(instance(msgspec.structs.replace(made.header, **changes)))
    return found


def mr(number: int, description: str) -> Series:
    """A pelvic MR series of 3 mm slices."""
    return Series(
        number=number,
        description=description,
        sop_class=MR,
        modality="MR",
        body_part="PELVIS",
        count=52,
        step=3.0,
        thickness=3.0,
        agent="",
    )


def test_a_rectum_needs_t2_in_three_planes_and_a_high_b_value() -> None:
    """A complete rectum MRI is adequate; a missing plane or a low b-value is named."""
    full = [mr(1, "t2 sag"), mr(2, "t2 cor"), mr(3, "t2 ax"), mr(4, "dwi b1000 ax")]
    assert judge(rectum(*full), "rectum-mr").verdict == "adequate"
    no_coronal = judge(rectum(full[0], full[2], full[3]), "rectum-mr")
    assert [(f.code, f.value) for f in no_coronal.findings if f.severity == "inadequate"] == [
        ("PLANE_MISSING", "coronal")
    ]
    low = judge(rectum(*full[:3], mr(4, "dwi ax")), "rectum-mr")
    assert [f.code for f in low.findings if f.severity == "inadequate"] == ["SEQUENCE_MISSING"]


def test_the_other_modality_is_asked_for() -> None:
    """A CT offered for a rectum MRI is not judged as one."""
    report = judge(instances_of(Series(body_part="PELVIS")), "rectum-mr")
    assert report.verdict == "inadequate"
    assert "MODALITY_MISSING" in codes(report)


def test_nothing_at_all_is_inadequate() -> None:
    """An empty batch holds no diagnostic image."""
    assert codes(judge([])) == {"NO_DIAGNOSTIC_IMAGE"}


@pytest.mark.parametrize("site", sites())
def test_every_number_of_every_set_has_a_source(site: str) -> None:
    """No limit, phase or sequence stands without the source that it comes from."""
    found = msgspec.to_builtins(requirement(site))
    assert found["version"] >= 1

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if {"value", "unit"} <= value.keys() or {"need", "label"} <= value.keys():
                assert value["source"]
            for inner in value.values():
                walk(inner)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                walk(inner)

    walk({key: value for key, value in found.items() if key != "vocabulary"})
