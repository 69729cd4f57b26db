"""Use cases, and what they need from the outside world."""
