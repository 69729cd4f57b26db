-- What the monitor looks at: the head, checkpoints, and everything that they were made of.

-- name: head
SELECT size, frontier FROM ledger.head

-- name: newer_notes
SELECT size, note FROM ledger.checkpoint WHERE size > %s AND size <= %s ORDER BY size LIMIT %s

-- name: entries
SELECT index, statement::text, actor_signature, ledger_signature, leaf
FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index

-- name: roots
SELECT root.size, root.root, checkpoint.note
FROM ledger.root LEFT JOIN ledger.checkpoint USING (size)
WHERE root.size > %s AND root.size <= %s ORDER BY root.size
