"""Case Ledger put together: settings, composition root, command line."""
