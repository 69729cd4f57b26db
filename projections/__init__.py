"""Read models, each folded from the log."""
