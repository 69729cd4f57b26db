"""The embedded PostgreSQL: its programs, its place, its roles, and who starts and ends it."""
