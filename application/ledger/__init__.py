"""The event store: sealing, the append under the ledger head, checkpoints, keys."""
