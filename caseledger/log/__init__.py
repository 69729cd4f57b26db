"""Logs to verify or to watch: where their entries are read, this data directory's own, and who scans them."""
