"""One invented case, end to end, through a real service."""
