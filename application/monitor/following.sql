-- What is new in the log: its head, and checkpoints above a size.

-- name: head
SELECT size, frontier FROM ledger.head

-- name: newer_notes
SELECT size, note FROM ledger.checkpoint WHERE size > %s AND size <= %s ORDER BY size LIMIT %s
