"""Where a vault's objects stand: a folder, or a bucket that speaks S3."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from domain.errors import Misconfigured


def folder(path: Path) -> LocalStore:
    """A folder of this machine, made for its owner alone if it is new."""
    path.mkdir(mode=0o700, exist_ok=True)
    return LocalStore(prefix=path)


def bucket(url: str) -> Any:
    """The bucket at `s3://bucket/prefix`.

    Region, endpoint and credentials come from where every program of that world looks for them: `AWS_REGION`,
    `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, or the machine's own role.

    Raises:
        Misconfigured: not of that form, or the environment does not fit.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise Misconfigured("OBJECT_STORE_URL is s3://bucket or s3://bucket/prefix; credentials are set elsewhere")
    try:
        return S3Store(parts.netloc, prefix=parts.path.strip("/") or None)
    except (BaseError, ValueError):
        # The library's message may quote what the environment says.
        raise Misconfigured("the object store cannot be used as the AWS_ variables describe it") from None
