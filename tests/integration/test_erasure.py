"""Erasure as a whole: nothing of it can be found or opened afterwards, and everything that was proven still is."""

from pathlib import Path

import psycopg
import pytest

from application.bundles import case_stream
from domain.case import events as e
from domain.errors import NotFound, SubjectErased, WrongRole
from domain.event import Erased, encode
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys
from domain.records import RecordKind
from projections import rebuild
from tests.conftest import Database
from tests.erasure_fixture import MARKED_PATIENT, MARKERS, REPORT, Erasable, Marked, fence_of
from tests.searching import cluster, found_in_files, found_in_tables
from tests.service_fixture import ADMINISTRATOR, COMPLIANCE, COORDINATOR, ONCOLOGIST, request

PERSONAL = {name: word for name, word in MARKERS.items() if name != "account"}
"""The account stands in the request as who made it, under the key that outlives the case's."""


def readable(one: Erasable) -> str:
    """Everything that the log's keys still open."""
    size = one.service.ledger.recorder.max_notification_id() or 0
    events = [each.event for each in one.service.ledger.read(0, size)]
    return "\n".join(encode(each).decode() for each in events if not isinstance(each, Erased))


def in_clear(one: Erasable, capfd: pytest.CaptureFixture[str]) -> list[object]:
    """Every place in which a marker stands in clear: tables, cluster, data directory with fence and vault, logs."""
    logged = "".join(capfd.readouterr())
    return [
        *found_in_tables(one.database, MARKERS.values()),
        *found_in_files(cluster(one.database), MARKERS.values()),
        *found_in_files(one.data, MARKERS.values()),
        *(word for word in MARKERS.values() if word in logged),
    ]


def equal(one: Erasable) -> bool:
    """Whether the live views equal the log."""
    found = rebuild.check(one.service.ledger, one.service.pool, one.service.keyring)
    assert [each.rows > 0 for each in found] == [True] * len(found)
    return all(each.equal for each in found)


def test_the_search_finds_what_is_there(database: Database, site: Erasable) -> None:
    """A word that is planted is found in its table, in the cluster's files and in the data directory."""
    word = "Qwzplantedword"
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("INSERT INTO intake.upload VALUES (gen_random_uuid(), %s, 'a', 'k', gen_random_uuid(),"
                           " 'open', %s, NULL, 0, 0)", (word, f"{word} too".encode()))  # fmt: skip
    (site.data / "vault" / "plain").write_text(f"x{word.encode().hex()}x")
    places = {place for _, place in found_in_tables(database, [word])}
    assert places == {"intake.upload", "intake.upload.sealed_key"}
    files = {Path(each).parent.name for each in found_in_files(cluster(database), [word])}
    assert "pg_wal" in files
    assert len(files) > 1
    assert len(found_in_files(site.data, [word])) == 1


def test_nothing_is_left_of_an_erased_case(site: Erasable, walk: Marked, capfd: pytest.CaptureFixture[str]) -> None:
    """No marker ever stood in clear anywhere; before the erasure keys open them, and after it nothing does."""
    before = readable(site)
    shown = {name for name, word in MARKERS.items() if word in before}
    assert shown == {*MARKERS} - {"file name", "DICOM patient name", "report"}
    stored = b"".join(site.service.reading.file(request(*COORDINATOR), walk.case, walk.report, digest)[2]
                      .__next__() for digest in [file_of(site, walk)])  # fmt: skip
    assert stored == REPORT
    assert in_clear(site, capfd) == []
    vault = [each for each in (site.data / "vault").rglob("*") if each.is_file()]
    assert len(vault) > 5

    walk.close()
    stream = walk.approved()
    walk.execute(stream)
    assert site.clearing.run() == [stream]
    site.follow()

    after = readable(site)
    assert {name for name, word in PERSONAL.items() if word in after} == set()
    assert in_clear(site, capfd) == []
    assert [each for each in (site.data / "vault").rglob("*") if each.is_file()] == []
    with psycopg.connect(site.database.superuser_url) as connection:
        subjects = set(site.service.privacy.load(stream).state.subjects)
        assert len(subjects) == 4
        kept = connection.execute(
            "SELECT statement ->> 'subject' FROM ledger.entry WHERE sealed IS NOT NULL"
        ).fetchall()
        assert subjects.isdisjoint({subject for (subject,) in kept})
        for table in ("records.blob_key", "intake.upload", "intake.file"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        keys = connection.execute("SELECT subject FROM ledger.subject_key").fetchall()
    assert subjects.isdisjoint({subject for (subject,) in keys})
    assert fence_of(site) == subjects


def file_of(one: Erasable, walk: Marked) -> str:
    """The digest of the report's one file."""
    (file,) = one.service.reading.manifest(request(*COORDINATOR), walk.case, walk.report).files
    return file.sha256


def test_views_equal_the_log_after_an_erasure(site: Erasable, walk: Marked) -> None:
    """Folded anew they are what is left, and a replay of the whole log gives the same."""
    assert equal(site)
    walk.close()
    walk.execute(walk.approved())
    site.follow()
    site.clearing.run()
    site.follow()
    assert equal(site)
    assert all(
        each.equal for each in rebuild.rebuild(site.database.owner_url, site.service.ledger, site.service.keyring)
    )
    with psycopg.connect(site.database.superuser_url) as connection:
        row = connection.execute("SELECT phase, coordinator, assignee, sealed FROM views.case_view").fetchone()
    assert row == ("erased", None, None, None)


def test_proofs_of_an_erased_case_hold(site: Erasable, walk: Marked) -> None:
    """Its bundle verifies as before, and says that payloads were erased, not that they are missing."""
    keys = TrustedKeys(
        site.service.keys.origin, (site.service.keys.checkpoint_verifier(),), (site.service.keys.entry_verifier(),)
    )
    earlier = verify(site.service.bundles.export(request(*COMPLIANCE), walk.case), keys)
    walk.close()
    stream = walk.approved()
    walk.execute(stream)
    site.clearing.run()
    report = verify(site.service.bundles.export(request(*COMPLIANCE), walk.case), keys)
    assert report.ok, report.failure
    assert earlier.ok
    assert report.entries == earlier.entries + 5
    assert report.holes == ()
    topics = [
        each.statement.kind
        for each in site.service.ledger.stream(case_stream(walk.case))
        if isinstance(each.event, Erased)
    ]
    assert len(report.erased) == len(topics) > 10
    assert any(f"{len(topics)} payloads were erased" in each for each in report.statements)


def test_disclosures_consents_and_the_request_still_answer(site: Erasable, walk: Marked) -> None:
    """Who was given what, under which consent, and what became of the request, can be told after the erasure."""
    walk.close()
    stream = walk.approved()
    walk.execute(stream)
    site.clearing.run()
    log = site.service.ledger.stream(case_stream(walk.case))
    kinds = {type(each.event) for each in log if not isinstance(each.event, Erased)}
    assert {e.ConsentGranted, e.OpinionShared, e.ContentErased} <= kinds
    (shared,) = [each.event for each in log if isinstance(each.event, e.OpinionShared)]
    assert shared.recipient.actor == ONCOLOGIST[1]
    for who in (MARKED_PATIENT, COMPLIANCE, ADMINISTRATOR):
        story = site.service.privacy.story(request(*who), stream)
        assert story.request.state.status == "completed"
        assert [each.statement.kind for each in story.steps] == [
            "privacy.erasure_requested.v1",
            "privacy.erasure_approved.v1",
            "privacy.erasure_executed.v1",
            "privacy.personal_data_erased.v1",
        ]
    with pytest.raises(WrongRole):
        site.service.privacy.story(request(*ONCOLOGIST), stream)
    # The three acts, and the end, are by four; the reads of it are on record.
    actors = [each.statement.actor for each in site.service.privacy.story(request(*COMPLIANCE), stream).steps]
    assert len(set(actors)) == 4
    last = site.service.ledger.recorder.max_notification_id() or 0
    (access,) = site.service.ledger.read(last - 1, last)
    assert (access.statement.kind, access.statement.object) == ("access.recorded.v1", stream.removeprefix("privacy-"))


def test_nobody_reads_an_erased_case(site: Erasable, walk: Marked) -> None:
    """Its content is gone for everybody, and the attempts stand in the trail."""
    walk.close()
    walk.execute(walk.approved())
    reading = site.service.reading
    for who in (MARKED_PATIENT, COORDINATOR):
        with pytest.raises(SubjectErased):
            reading.opinion(request(*who), walk.case, walk.opinion)
        with pytest.raises(SubjectErased):
            reading.manifest(request(*who), walk.case, walk.report)
    assert site.service.accesses.read(request(*COMPLIANCE), walk.case, "trail").permission.content is False
    assert site.service.cases.load(walk.case).state.phase == "erased"


def test_one_record_is_erased_without_its_case(site: Erasable, walk: Marked, capfd: pytest.CaptureFixture[str]) -> None:
    """The rest of the case, and an opinion that relied on the record, are as they were, in whatever phase."""
    imaging = next(name for name in site.service.cases.load(walk.case).state.records if name != walk.report)
    stream = walk.approved("record", walk.report)
    walk.execute(stream)
    assert site.clearing.run() == [stream]
    site.follow()
    assert equal(site)
    assert in_clear(site, capfd) == []
    state = site.service.cases.load(walk.case).state
    assert (set(state.records), state.phase) == ({imaging}, "follow_up")
    with pytest.raises(NotFound):
        site.service.reading.manifest(request(*COORDINATOR), walk.case, walk.report)
    assert len(site.service.reading.manifest(request(*COORDINATOR), walk.case, imaging).files) == 5
    text = site.service.reading.opinion(request(*MARKED_PATIENT), walk.case, walk.opinion)
    assert text.opinion.content.rationale == MARKERS["opinion"]
    assert walk.report in {each.record for each in text.opinion.relied_on}
    assert not (site.data / "vault" / "records" / walk.report).exists() or not any(
        (site.data / "vault" / "records" / walk.report).iterdir()
    )
    assert fence_of(site) == {f"record:{walk.report}"}
    keys = TrustedKeys(
        site.service.keys.origin, (site.service.keys.checkpoint_verifier(),), (site.service.keys.entry_verifier(),)
    )
    report = verify(site.service.bundles.export(request(*MARKED_PATIENT), walk.case), keys)
    assert (report.ok, len(report.erased), report.holes) == (True, 1, ())
    # The case goes on, and ends like any other.
    walk.close()
    second = walk.approved()
    walk.execute(second)
    assert site.clearing.run() == [second]
    assert f"record:{walk.report}" not in site.service.privacy.load(second).state.subjects


def test_an_upload_under_way_goes_with_its_case(site: Erasable, walk: Marked) -> None:
    """What was never made a record is no less personal; nothing can be added to it afterwards."""
    receiving, who = site.service.receiving, request(*MARKED_PATIENT)
    # Begun while the case gathered: it takes nothing in any more.
    actor, intake = str(site.service.cases.load(walk.case).state.patient_actor), receiving._intake
    upload = intake.status(intake.open(walk.case, actor, RecordKind.OTHER))
    intake.add_file(upload.upload, MARKERS["file name"], [REPORT])
    walk.close()
    stream = walk.approved()
    walk.execute(stream)
    site.clearing.run()
    with pytest.raises(SubjectErased):
        receiving.add_file(who, walk.case, upload.upload, "late", [b"late"], None, None)
    with pytest.raises(NotFound):
        intake.add_file(upload.upload, "late", [b"late"])
    assert f"record:{upload.record}" in fence_of(site)
    assert [each for each in (site.data / "vault").rglob("*") if each.is_file()] == []
    with psycopg.connect(site.database.superuser_url) as connection:
        assert connection.execute("SELECT count(*) FROM intake.upload").fetchone() == (0,)
