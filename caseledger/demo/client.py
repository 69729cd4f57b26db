"""The people of the demo as the service sees them: HTTP requests with a bearer token, each answer held to its proof."""

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec

from domain.errors import CaseLedgerError
from domain.ledger import receipt as receipts
from domain.ledger.receipt import Receipt
from domain.ledger.verify_trust import TrustedKeys

TIMEOUT_S = 30


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document (RFC 9457), as far as the story needs it."""

    status: int
    type: str
    title: str
    detail: str = ""

    @property
    def code(self) -> str:
        """The last part of the problem's type."""
        return self.type.rpartition(":")[2]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """An acknowledged write whose receipts hold."""

    revision: int
    indexes: tuple[int, ...]
    made: dict[str, str]
    said: dict[str, Any]
    """The whole answer."""


class Person:
    """Somebody with a token. Every write that is acknowledged is verified here, with nothing but the public keys."""

    def __init__(self, name: str, subject: str, http: httpx.Client, token: str, keys: TrustedKeys) -> None:
        self.name = name
        self.subject = subject
        self._http = http
        self._token = token
        self._keys = keys
        self.proofs = 0

    def get(self, path: str, **query: Any) -> Any:
        """A JSON document.

        Raises:
            CaseLedgerError: the service refused.
        """
        return _expected(self.ask("GET", path, params=query)).json()

    def get_bytes(self, path: str) -> bytes:
        """Anything else.

        Raises:
            CaseLedgerError: the service refused.
        """
        return _expected(self.ask("GET", path)).content

    def write(self, method: str, path: str, body: Any = None, *, revision: int | None = None) -> Written:
        """A write; the receipt of each entry has to lead to a checkpoint that the ledger's key signed.

        Raises:
            CaseLedgerError: the service refused. ProofInvalid, NoteSignatureInvalid: it did not prove what it says.
        """
        said = _expected(self.send(method, path, body, revision=revision)).json()
        for each in said["receipts"]:
            receipts.verify(msgspec.convert(each, Receipt), self._keys.checkpoint)
            self.proofs += 1
        return Written(
            revision=said["revision"],
            indexes=tuple(each["index"] for each in said["receipts"]),
            made=said["made"],
            said=said,
        )

    def refused(self, method: str, path: str, body: Any = None, *, revision: int | None = None) -> Refusal:
        """A write that has to be refused.

        Raises:
            CaseLedgerError: it was not.
        """
        answer = self.send(method, path, body, revision=revision)
        if answer.is_success:
            raise CaseLedgerError(f"{method} {answer.request.url.path} was to be refused, and was not")
        return refusal_of(answer)

    def send(self, method: str, path: str, body: Any = None, *, revision: int | None = None) -> httpx.Response:
        """A write as it is answered, with a new Idempotency-Key, and If-Match where a revision is given."""
        headers = {"Idempotency-Key": str(uuid4())}
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        return self.ask(method, path, headers=headers, content=content)

    def upload(self, case: str, kind: str, files: list[tuple[str, bytes]], revision: int) -> Written:
        """A record: an upload is begun, each file streamed in with its name and SHA-256, then made a record."""
        upload = self.begin_upload(case, kind)
        for name, content in files:
            _expected(self.add_file(upload, name, content))
        return self.write("POST", f"{upload}/record", revision=revision)

    def begin_upload(self, case: str, kind: str) -> str:
        """Path of a new upload."""
        begun = _expected(self.send("POST", f"/cases/{case}/uploads", {"kind": kind})).json()
        return f"/cases/{case}/uploads/{begun['upload']}"

    def add_file(self, upload: str, name: str, content: bytes) -> httpx.Response:
        """A file of an upload; its name travels in a header, since URLs end up in logs."""
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Digest": f"sha-256=:{digest}:",
        }
        return self.ask("POST", f"{upload}/files", headers=headers, content=content)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """One request under this person's token."""
        try:
            return self._http.request(
                method, path, headers={"Authorization": f"Bearer {self._token}", **(headers or {})}, **more
            )
        except httpx.HTTPError as error:
            raise CaseLedgerError(f"{method} {path}: {type(error).__name__}") from None


def refusal_of(answer: httpx.Response) -> Refusal:
    """The problem document of an answer."""
    try:
        return msgspec.json.decode(answer.content, type=Refusal)
    except msgspec.MsgspecError:
        raise CaseLedgerError(f"status {answer.status_code} without a problem document") from None


def _expected(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        problem = refusal_of(answer)
        where = f"{answer.request.method} {answer.request.url.path}"
        raise CaseLedgerError(f"{where}: {problem.status} {problem.title}: {problem.detail}")
    return answer


def files_in(folder: Path) -> list[tuple[str, bytes]]:
    """Name and content of each file of a folder, by name."""
    return [(each.name, each.read_bytes()) for each in sorted(folder.iterdir()) if each.is_file()]
