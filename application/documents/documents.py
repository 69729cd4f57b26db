"""The use case: what a record's documents were found to be, and what kind of record a coordinator says it is."""

from collections.abc import Callable
from typing import Final

import msgspec

from application.accesses import Accesses
from application.cases import Cases
from application.documents.job import BYTES, Job
from application.outcome import Outcome
from application.records.blob_keys import BlobKeys
from application.records.intake import read_manifest
from application.records.vault import Vault
from application.request import Request
from application.sandbox.room import Room
from application.sandbox.sandbox import Sandbox
from application.standing import Standing
from application.work.derived import Derived
from domain.case.actor import require_coordinator
from domain.case.commands import ClassifyRecord, ClassifyRecordInput
from domain.case.events import Marker, RecordKind
from domain.case.state import CaseState
from domain.documents import DocumentFacts, DocumentFinding, fact_of, together
from domain.errors import InvalidInput, NotFound
from domain.records import Digest, FileEntry, Manifest

VERSION: Final = 1
"""Goes up whenever the same files would be described in another way."""
FILES: Final = 200
"""Most files of one record that are looked into, and that stand in its classification."""


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a record and its facts."""

    sha256: Digest
    facts: DocumentFacts


class RecordFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a record's files come to together; `markers` are suggestions where their basis is text."""

    version: int
    manifest_sha256: Digest
    files: tuple[FileFacts, ...]
    suggested: RecordKind | None = None
    dated_on: str | None = None
    markers: tuple[Marker, ...] = ()


class Documents:
    """Documents of records; safe to use from many threads."""

    def __init__(
        self,
        cases: Cases,
        accesses: Accesses,
        vault: Vault,
        blob_keys: BlobKeys,
        derived: Derived,
        sandbox: Sandbox,
        room: Room,
    ) -> None:
        self._cases = cases
        self._accesses = accesses
        self._vault = vault
        self._blob_keys = blob_keys
        self._derived = derived
        self._sandbox = sandbox
        self._room = room

    def facts(self, request: Request, case: str, record: str) -> RecordFacts:
        """What the documents of a record were found to be, worked out now where it has not been.

        Raises:
            CaseNotFound, NotFound, SubjectErased; WrongRole, MissingConsent, WrongPhase: refused, and recorded.
            BlobAltered, Unavailable.
        """
        standing = Standing(self._accesses, request, case, "record", record)
        access = self._accesses.read(request, case, "record", record)
        facts = self._asked(access.case.state, record, standing)
        standing()
        return facts

    def make(self, case: str, record: str) -> RecordFacts:
        """The same for a job: nobody's access is asked here.

        Raises:
            CaseNotFound, NotFound, SubjectErased, BlobAltered, Unavailable.
        """
        return self._facts(self._cases.load(case).state, record)

    def classify(self, request: Request, case: str, record: str, sent: ClassifyRecordInput) -> Outcome:
        """A coordinator says what kind of record this is; the service adds what its files were found to be.

        Raises:
            InvalidInput: markers of a record that is not bloods, or that are not in it and not said to be typed in.
            And whatever the decision refuses with.
        """
        if (earlier := self._cases.earlier(request)) is not None:
            return earlier
        state = self._cases.load(case).state
        require_coordinator(state, request.actor())
        found = None
        known = state.records.get(record)
        if known is not None and known.kind != "imaging" and not known.quarantined:
            found = self._asked(state, record)
        command = _command(record, sent, found)
        return self._cases.act(request, case, lambda state: command)

    def _asked(self, state: CaseState, record: str, go_on: Callable[[], None] = lambda: None) -> RecordFacts:
        """The facts for a request, which waits for no more than a few others to be worked out."""
        kept = self._kept(_digest(state, record), record)
        if kept is not None:
            return kept
        with self._room.taken():
            return self._facts(state, record, go_on)

    def _facts(self, state: CaseState, record: str, go_on: Callable[[], None] = lambda: None) -> RecordFacts:
        digest = _digest(state, record)
        kept = self._kept(digest, record)
        if kept is not None:
            return kept
        manifest = read_manifest(self._vault, record, self._blob_keys.of(record), digest)
        facts, final = self._inspected(record, digest, manifest, go_on)
        if final:
            self._derived.keep(record, "documents", msgspec.json.encode(facts))
        return facts

    def _kept(self, digest: str, record: str) -> RecordFacts | None:
        kept = self._derived.load(record, "documents")
        facts = None if kept is None else msgspec.json.decode(kept, type=RecordFacts)
        return facts if facts is not None and (facts.version, facts.manifest_sha256) == (VERSION, digest) else None

    def _inspected(
        self, record: str, digest: str, manifest: Manifest, go_on: Callable[[], None]
    ) -> tuple[RecordFacts, bool]:
        files: list[FileFacts] = []
        final = True
        for file in manifest.files[:FILES]:
            go_on()
            facts, late = self._document(record, file)
            final = final and not late
            files.append(FileFacts(sha256=file.sha256, facts=facts))
        kind, day, markers = together(each.facts for each in files)
        facts_of = RecordFacts(
            version=VERSION,
            manifest_sha256=digest,
            files=tuple(files),
            suggested=kind,
            dated_on=day,
            markers=markers[:100],
        )
        return facts_of, final

    def _document(self, record: str, file: FileEntry) -> tuple[DocumentFacts, bool]:
        """Facts of one file, each in a worker of its own; and whether only the clock was against it."""
        if file.bytes > BYTES:
            told = "The file is larger than is looked into: please send what matters of it."
            return _failed("DOC_TOO_LARGE", told, str(file.bytes), str(BYTES)), False
        ending = file.name.rpartition(".")[2][:8] if "." in file.name else ""
        content = self._vault.stream(record, self._blob_keys.of(record), file.sha256)
        answer = self._sandbox.run("document", Job(name=f".{ending}"), [(file.bytes, content)])
        if not answer.died and len(answer.results) == 1:
            try:
                return msgspec.json.decode(answer.results[0], type=DocumentFacts), False
            except (msgspec.MsgspecError, UnicodeDecodeError):
                pass  # what does not have the form of facts is none
        told = "The file could not be read within bounds of memory and time: please send it again, as a plain PDF."
        return _failed("DOC_UNREADABLE", told, answer.died, ""), answer.died == "late"


def _digest(state: CaseState, record: str) -> str:
    """Digest of the manifest of a record of documents.

    Raises:
        NotFound: the case has no such record.
    """
    known = state.records.get(record)
    if known is None or known.kind == "imaging":
        raise NotFound("the case has no such record of documents")
    return known.manifest_sha256


def _failed(code: str, told: str, value: str, limit: str) -> DocumentFacts:
    finding = DocumentFinding(code=code, severity="inadequate", message=told, value=value, limit=limit)
    return DocumentFacts(format="other", findings=(finding,))


def _command(record: str, sent: ClassifyRecordInput, found: RecordFacts | None) -> ClassifyRecord:
    known = () if found is None else found.markers
    if sent.markers is None:
        markers = tuple(each for each in known if each.basis in ("fhir", "cda")) if sent.kind == "bloods" else ()
    else:
        markers = sent.markers
        if markers and sent.kind != "bloods":
            raise InvalidInput("markers go with bloods")
        for each in markers:
            if each.basis != "entered" and each not in known:
                raise InvalidInput("a marker that is not in the documents is said to be entered")
    return ClassifyRecord(
        record=record,
        kind=sent.kind,
        suggested=None if found is None else found.suggested,
        dated_on=sent.dated_on or (None if found is None else found.dated_on),
        documents=() if found is None else tuple(fact_of(each.sha256, each.facts) for each in found.files),
        markers=markers,
    )
