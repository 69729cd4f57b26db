"""Records: upload, the encrypted vault, and the reading of DICOM headers."""
