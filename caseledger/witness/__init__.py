"""A witness of transparency logs: ours and others'. Knows nothing of cases, and needs no database."""
