"""What a case, a ledger and adequate imaging are. No I/O, no clock, no randomness, no frameworks."""
