"""Orthanc, as hospitals run it, pushes a study to us over STOW-RS.

It listens on every address it has, so it runs in a network namespace of its own that has nothing but a loopback; our
socket is made inside that namespace too. Needs Orthanc, its DICOMweb plugin, `ip` and root; otherwise the test skips.
"""

import ctypes
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn

from application.records.blob_keys import BlobKeys
from application.records.intake import read_manifest
from tests.api.conftest import clock, service, stage, views  # noqa: F401 - fixtures
from tests.api.people import PATIENT, Stage
from tests.service_fixture import CT, dicom

T = TypeVar("T")
PORT = 8042
_CLONE_NEWNET = 0x40000000


def plugin() -> Path | None:
    """The DICOMweb plugin, where Debian puts it."""
    found = [
        *Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*"),
        *Path("/usr/lib").glob("**/libOrthancDicomWeb.so*"),
    ]
    return found[0] if found else None


pytestmark = [
    pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Orthanc is not installed"),
    pytest.mark.skipif(plugin() is None, reason="Orthanc's DICOMweb plugin is not installed"),
    pytest.mark.skipif(shutil.which("ip") is None or os.geteuid() != 0, reason="a network namespace needs ip and root"),
]


class Namespace:
    """A network namespace with a loopback; `inside` runs a function on a thread that is in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def inside(self, do: Callable[[], T]) -> T:
        """What the function gives; a socket that it makes stays in the namespace."""

        def entered() -> T:
            with Path(f"/run/netns/{self.name}").open() as handle:
                if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return do()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(entered).result()

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Orthanc's own interface."""

        def asked() -> Any:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
            try:
                connection.request(method, path, body)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            assert answer.status == 200, (answer.status, content[:500])
            return json.loads(content)

        return self.inside(asked)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace that nothing outside can reach."""
    name = f"caseledger-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this machine makes no network namespace")
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield Namespace(name)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextmanager
def serving(stage: Stage, namespace: Namespace) -> Iterator[int]:  # noqa: F811 - the parameter is the fixture's value
    """Our application, on a port of the namespace's loopback."""
    with namespace.inside(lambda: socket.create_server(("127.0.0.1", 0))) as bound:
        server = uvicorn.Server(uvicorn.Config(stage.app, log_config=None, access_log=False, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def orthanc(namespace: Namespace, place: Path, servers: dict[str, Any]) -> Iterator[None]:
    """Orthanc with an empty store."""
    config = {
        "Name": "SYNTHETIC TEST",
        "StorageDirectory": str(place / "store"),
        "IndexDirectory": str(place / "store"),
        "HttpPort": PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [str(plugin())],
        "DicomWeb": {"Enable": True, "Servers": servers},
    }
    (place / "orthanc.json").write_text(json.dumps(config))
    command = ["ip", "netns", "exec", namespace.name, str(shutil.which("Orthanc")), str(place / "orthanc.json")]
    with (place / "orthanc.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    namespace.ask("GET", "/system")
                    break
                except OSError:
                    assert time.monotonic() < until
                    assert process.poll() is None, (place / "orthanc.log").read_text()
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(30)


def test_orthanc_pushes_a_study_into_an_upload_and_as_records(
    stage: Stage,  # noqa: F811
    namespace: Namespace,
    tmp_path: Path,
) -> None:
    """Into an upload it is one record, over however many requests; straight to the case, each request is a record."""
    stage.open()
    stage.prepare()
    upload = stage.begin()
    contents = dicom(CT)
    with serving(stage, namespace) as port:
        bearer = {"Authorization": f"Bearer {stage.token(PATIENT)}"}
        root = f"http://127.0.0.1:{port}/dicomweb/cases/{stage.case}"
        servers = {
            "upload": {"Url": f"{root}/uploads/{upload.rsplit('/', 1)[1]}/", "HttpHeaders": bearer},
            "case": {"Url": f"{root}/", "HttpHeaders": bearer},
        }
        with orthanc(namespace, tmp_path, servers):
            for content in contents:
                namespace.ask("POST", "/instances", content)
            (study,) = namespace.ask("GET", "/studies")
            order = json.dumps({"Resources": [study], "Synchronous": True}).encode()
            namespace.ask("POST", "/dicom-web/servers/upload/stow", order)
            shown = stage.ask(PATIENT, "GET", upload).json()
            assert (shown["files"], shown["state"]) == (len(contents), "open")
            answer = stage.write(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")
            assert answer.status_code == 201, answer.text
            before = len(stage.service.cases.load(stage.case).state.records)
            namespace.ask("POST", "/dicom-web/servers/case/stow", order)
    records = stage.service.cases.load(stage.case).state.records
    assert before == 1
    assert len(records) > before
    keys = BlobKeys(stage.service.pool, stage.service.keyring)
    first, *others = (
        read_manifest(stage.service.vault, name, keys.of(name), record.manifest_sha256)
        for name, record in records.items()
    )
    assert len(first.files) == len(contents)
    assert all(each.header is not None and each.header.modality == "CT" for each in first.files)
    assert {file.sha256 for other in others for file in other.files} == {file.sha256 for file in first.files}
