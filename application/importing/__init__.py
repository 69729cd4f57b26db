"""A backlog of cases from another system: a file is read and checked whole, then appended in bulk."""
