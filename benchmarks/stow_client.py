"""The client of ingest-orthanc, the same for both sides: python -m benchmarks.stow_client URL FOLDER [TOKEN].

Sends a folder's files as one STOW-RS request, part by part as they come off the disk; prints the seconds until the
answer, and the status.
"""

import http.client
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

_BOUNDARY = "caseledger-benchmark"
_HEAD = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_END = f"--{_BOUNDARY}--\r\n".encode()


def send(url: str, files: list[Path], token: str | None) -> tuple[float, int, bytes]:
    """Seconds, status and answer."""
    parts = urlsplit(url)
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}',
        "Content-Length": str(sum(len(_HEAD) + file.stat().st_size + 2 for file in files) + len(_END)),
        "Accept": "application/dicom+json",
    }
    if token:
        headers["Authorization"] = f"Bearer {token}"

    def body() -> Iterator[bytes]:
        for file in files:
            yield _HEAD + file.read_bytes() + b"\r\n"
        yield _END

    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)
    began = time.perf_counter()
    connection.request("POST", parts.path, body(), headers)
    answer = connection.getresponse()
    said = answer.read()
    return time.perf_counter() - began, answer.status, said


if __name__ == "__main__":
    elapsed, status, said = send(sys.argv[1], sorted(Path(sys.argv[2]).iterdir()), (sys.argv[3:] or [None])[0])
    print(elapsed, status)
    if status != 200:
        sys.exit(said.decode(errors="replace")[:500])
