"""The parts of pydicom that read what is unusual; imported at the first file that is, since that takes 0.2 s."""

import logging

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.filereader import read_dataset, read_sequence

# A warning of pydicom quotes header values; they belong in no log. Its import sets the level, so this comes after it.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

__all__ = ["convert_encodings", "decode_bytes", "read_dataset", "read_sequence"]
