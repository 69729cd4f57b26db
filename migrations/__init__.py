"""Schema revisions whose content is SQL."""
