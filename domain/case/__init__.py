"""A case: its events, its state, its decisions."""
