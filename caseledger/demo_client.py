"""The people of the demo as the service sees them: HTTP requests with a bearer token, each answer held to its proof."""

import hashlib
from pathlib import Path
from typing import Any
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

    def revision(self, case: str) -> int:
        """Where the case stands, as its ETag says."""
        return int(_expected(self.ask("GET", f"/cases/{case}")).headers["etag"].strip('"'))

    def write(self, path: str, body: Any = None, *, revision: int | None = None) -> Written:
        """A write; the receipt of each entry has to lead to a checkpoint that the ledger's key signed.

        Raises:
            CaseLedgerError: the service refused. ProofInvalid, NoteSignatureInvalid: it did not prove what it says.
        """
        return self._proven(_expected(self.post(path, body, revision=revision)))

    def refused(self, path: str, body: Any = None, *, revision: int | None = None) -> Refusal:
        """A write that has to be refused.

        Raises:
            CaseLedgerError: it was not.
        """
        answer = self.post(path, body, revision=revision)
        if answer.is_success:
            raise CaseLedgerError(f"{answer.request.method} {path} was to be refused, and was not")
        return refusal_of(answer)

    def post(self, path: str, body: Any = None, *, revision: int | None = None) -> httpx.Response:
        """A write as it is answered, with a new Idempotency-Key, and If-Match where a revision is given."""
        headers = {"Idempotency-Key": str(uuid4())}
        if revision is not None:
            headers["If-Match"] = f'"{revision}"'
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        return self.ask("POST", path, headers=headers, content=content)

    def upload(self, case: str, kind: str, files: list[tuple[str, bytes]], revision: int) -> Written:
        """A record: an upload is begun, each file streamed in with its length and SHA-256, then finished."""
        begun = _expected(self.post(f"/cases/{case}/uploads", {"kind": kind})).json()
        upload = f"/cases/{case}/uploads/{begun['upload']}"
        for name, content in files:
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Digest": "",
                "X": "",
            }
            headers = {"Content-Type": "application/octet-stream", "Sha256": hashlib.sha256(content).hexdigest()}
            _expected(self.ask("PUT", f"{upload}/files/{name}", headers=headers, content=content))
        return self.write(f"{upload}/finish", revision=revision)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """One request under this person's token."""
        try:
            return self._http.request(
                method, path, headers={"Authorization": f"Bearer {self._token}", **(headers or {})}, **more
            )
        except httpx.HTTPError as error:
            raise CaseLedgerError(f"{method} {path}: {type(error).__name__}") from None

    def _proven(self, answer: httpx.Response) -> Written:
        said = answer.json()
        for each in said["receipts"]:
            receipts.verify(msgspec.convert(each, Receipt), self._keys.checkpoint)
            self.proofs += 1
        indexes = tuple(each["index"] for each in said["receipts"])
        return Written(revision=said["revision"], indexes=indexes, made=said.get("made", {}))


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
