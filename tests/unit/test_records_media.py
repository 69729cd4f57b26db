import pytest

from application.records.media import sniff

PREAMBLE = bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (PREAMBLE, "application/dicom"),
        (b"%PDF-1.7".ljust(128, b"\0") + b"DICM", "application/dicom"),
        (b"II*\0".ljust(128, b"\0") + b"DICM", "application/dicom"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"PK\x03\x04", "application/zip"),
        (b"PK\x05\x06", "application/zip"),
        (b"\x1f\x8b\x08", "application/gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "text/plain"),
        ("CEA 3,1 µg/l\r\n".encode(), "text/plain"),
        ("肝功能".encode("gb18030"), "text/plain"),
        ("肝".encode("utf-16"), "text/plain"),
        (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", "application/octet-stream"),
        (PREAMBLE[:-1], "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_first_bytes_tell(first: bytes, expected: str) -> None:
    """What a file is comes from its bytes; the DICM mark wins over any preamble."""
    assert sniff(first) == expected
