"""Watching the log for what contradicts itself or the pin."""
