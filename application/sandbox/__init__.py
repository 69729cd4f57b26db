"""Hostile bytes are decoded in processes that may die, see nothing and reach nothing."""
