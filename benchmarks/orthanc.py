"""Orthanc with its DICOMweb plugin, as Debian packages it, in a network namespace that has nothing but a loopback."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.model import Absent

_PORT = 8042
_START_S = 60


class Orthanc(msgspec.Struct, frozen=True):
    """A running Orthanc; who wants to reach it runs inside its namespace."""

    namespace: str

    @property
    def stow_url(self) -> str:
        """Where it stores instances."""
        return f"http://127.0.0.1:{_PORT}/dicom-web/studies"

    def inside(self, command: Sequence[str]) -> list[str]:
        """A command that runs inside."""
        return ["ip", "netns", "exec", self.namespace, *command]


@contextmanager
def orthanc(place: Path) -> Iterator[Orthanc]:
    """Orthanc with an empty store in a directory.

    Raises:
        Absent: it, its plugin, or a network namespace is not to be had here.
    """
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        raise Absent("Orthanc is not installed")
    plugins = [*Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*")]
    if not plugins:
        raise Absent("Orthanc's DICOMweb plugin is not installed")
    if shutil.which("ip") is None or os.geteuid() != 0:
        raise Absent("a network namespace needs ip and root")
    name = f"caseledger-bench-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        raise Absent("this machine makes no network namespace")
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        with _running(Orthanc(name), program, plugins[0], place) as running:
            yield running
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextmanager
def _running(orthanc: Orthanc, program: str, plugin: Path, place: Path) -> Iterator[Orthanc]:
    config = {
        "Name": "SYNTHETIC BENCHMARK",
        "StorageDirectory": str(place / "store"),
        "IndexDirectory": str(place / "store"),
        "HttpPort": _PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True},
    }
    (place / "orthanc.json").write_text(json.dumps(config))
    command = orthanc.inside([program, str(place / "orthanc.json")])
    with (place / "orthanc.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            ask = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{_PORT}"]
            until = time.monotonic() + _START_S
            while subprocess.run(orthanc.inside(ask), capture_output=True, check=False).returncode:
                if process.poll() is not None or time.monotonic() > until:
                    raise Absent("Orthanc does not start")
                time.sleep(0.1)
            yield orthanc
        finally:
            process.terminate()
            process.wait(30)
