"""Actors' signing keys and the log's own: enrolment, rotation, revocation, and what discloses them."""
