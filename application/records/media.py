"""What a file is, judged by its first bytes and never by its name."""

from application.documents.sniffing import structured

DICOM = "application/dicom"
OCTETS = "application/octet-stream"
TEXT = "text/plain"
PDF = "application/pdf"

_SIGNATURES = (
    (b"%PDF-", PDF),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
)
ARCHIVES = frozenset(
    {
        "application/zip",
        "application/gzip",
        "application/x-7z-compressed",
        "application/vnd.rar",
        "application/x-bzip2",
        "application/x-xz",
        "application/x-tar",
    }
)
"""Media types of what has other files in it."""
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_BINARY = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")


def sniff(first: bytes) -> str:
    """Media type of a file that begins with these bytes (a few hundred are enough).

    The DICM mark at byte 128 wins over any preamble: a dual file is DICOM too (DICOM PS3.10 7.1). DICOM
    without a preamble looks like octets here; only reading it can tell.
    """
    if first[128:132] == b"DICM":
        return DICOM
    for signature, media_type in _SIGNATURES:
        if first.startswith(signature):
            return media_type
    if first[257:262] == b"ustar":
        return "application/x-tar"
    if first.startswith(_BYTE_ORDER_MARKS) or (first and not _BINARY.intersection(first[:1024])):
        return structured(first) or TEXT
    return OCTETS
