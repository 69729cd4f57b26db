"""Pictures of a record's series: contact sheets and thumbnails, derived, cached, and drawn in a sandbox."""
