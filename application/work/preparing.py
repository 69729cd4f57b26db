"""What people will look at, made before anybody asks: pictures of images, facts of documents."""

import threading

from application.cases import Cases
from application.documents.documents import Documents
from application.pictures.pictures import Pictures
from application.request import Request
from domain.errors import CaseLedgerError, NotFound, SubjectErased, Unavailable


class Preparing:
    """Makes what a case's records lack; what is there already costs a look. Safe to run twice, or at once."""

    def __init__(self, cases: Cases, pictures: Pictures, documents: Documents) -> None:
        self._cases = cases
        self._pictures = pictures
        self._documents = documents
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End whatever runs after the series or document that it is at; it is made another time."""
        self._stopping.set()

    def run(self, request: Request, case: str) -> None:
        """Prepare every record of a case that is not in quarantine; one that fails does not stop the others.

        Raises:
            CaseNotFound; BlobAltered and whatever else the first of those failed with that did.
            Unavailable: it was told to stop.
        """
        failure: CaseLedgerError | None = None
        for record in self._cases.load(case).state.records.values():
            if record.quarantined:
                continue
            self._go_on()
            try:
                if record.kind == "imaging":
                    self._pictures.make(case, record.record, self._go_on)
                else:
                    self._documents.make(case, record.record)
            except (NotFound, SubjectErased):
                continue  # erased meanwhile
            except CaseLedgerError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise Unavailable("The service is stopping.")
