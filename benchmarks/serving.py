"""`caseledger serve` as a process of its own, on the ground's durable server, asked over HTTP."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx

from api.tokens import issue
from application.ledger import keyfiles
from application.ledger.keyfiles import KeyFiles
from benchmarks.ground import Ground
from caseledger.embedded.roles import OWNER, SERVICE

_CHECKED_S = 60
_SUBJECTS = {"patient": "account-1", "coordinator": "coordinator-1"}
_ZERO = "0" * 64
_OPEN = {
    "case": {"reason": "told_unresectable", "diagnosis": "liver metastases", "organ": "liver", "home_country": "GB"},
    "patient": {"name": "Synthetic NoPatient", "born_on": "1900-01-01"},
}


class Served:
    """A running service, and people who ask it."""

    def __init__(self, url: str, keys: KeyFiles) -> None:
        self.url = url
        self._keys = keys

    def token(self, role: str) -> str:
        """A bearer token."""
        return issue(self._keys.token, self._keys.origin, _SUBJECTS[role], role, 3600, int(time.time()))

    def new_case(self) -> str:
        """A case that waits for its records."""
        case: str = self._write("patient", "POST", "/cases", None, _OPEN)["case"]
        consent = {"kind": "process", "purpose": "second opinion", "language": "en", "text_sha256": _ZERO}
        item = {"item": "imaging", "kind": "imaging", "description": "CT of the liver"}
        steps: list[tuple[str, str, str, dict[str, Any]]] = [
            ("patient", "PUT", "disclaimer", {"text_sha256": _ZERO, "language": "en"}),
            ("coordinator", "PUT", "coordinator", {"coordinator": _SUBJECTS["coordinator"]}),
            ("patient", "POST", "consents", consent),
            ("coordinator", "PUT", "checklist", {"items": [item], "imaging_site": "any"}),
        ]
        for revision, (role, method, what, body) in enumerate(steps, 1):
            self._write(role, method, f"/cases/{case}/{what}", revision, body)
        return case

    def wait_until_checked(self, case: str) -> None:
        """Until the imaging check has been put on record, so that it runs beside nothing that is measured."""
        until = time.monotonic() + _CHECKED_S
        headers = {"Authorization": f"Bearer {self.token('coordinator')}"}
        while httpx.get(f"{self.url}/cases/{case}", headers=headers).json().get("imaging_verdict") is None:
            assert time.monotonic() < until, "the imaging was not checked in time"
            time.sleep(0.1)

    def _write(self, role: str, method: str, path: str, revision: int | None, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {self.token(role)}", "Idempotency-Key": str(uuid4())}
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        answer = httpx.request(method, self.url + path, headers=headers, json=body)
        assert answer.is_success, answer.text
        return answer.json()


@contextmanager
def served(ground: Ground) -> Iterator[Served]:
    """`caseledger serve` on a new database and a free port of this machine."""
    data = ground.directory()
    with ground.database() as name, (data / "serve.log").open("wb") as log:
        environment = {each: value for each, value in os.environ.items() if not each.startswith("CASELEDGER_")} | {
            "CASELEDGER_DATA": str(data),
            "CASELEDGER_DATABASE_URL": ground.server.url(SERVICE, name),
            "CASELEDGER_OWNER_DATABASE_URL": ground.server.url(OWNER, name),
            "CASELEDGER_HOST": "127.0.0.1",
            "CASELEDGER_PORT": "0",
        }
        command = [sys.executable, "-m", "caseledger.cli", "serve"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                address = [word.rstrip(",") for word in line.split() if word.startswith("http://")]
                assert address, (data / "serve.log").read_text()
                yield Served(address[0], keyfiles.load(data))
            finally:
                process.terminate()
                process.wait(60)
