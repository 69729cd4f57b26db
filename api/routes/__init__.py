"""The handlers, each a few lines between HTTP and a use case."""
