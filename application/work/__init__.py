"""Jobs: what follows from the log by itself, and what is worked out from records."""
