"""The ledger and its verifier: statements, entries, tree, checkpoints, proofs, bundles."""
