-- What is hashed again, and what it is held against.

-- name: entries
SELECT index, statement::text, actor_signature, ledger_signature, leaf
FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index

-- name: hole
-- The first entry that commits to a payload which is gone, though its subject was not erased.
SELECT min(e.index)
FROM ledger.entry AS e
WHERE e.index >= %s AND e.index < %s AND e.sealed IS NULL AND e.statement ->> 'commitment' IS NOT NULL
    AND NOT EXISTS (SELECT FROM ledger.fence AS f WHERE f.subject = e.statement ->> 'subject')

-- name: roots
SELECT root.size, root.root, checkpoint.note
FROM ledger.root LEFT JOIN ledger.checkpoint USING (size)
WHERE root.size > %s AND root.size <= %s ORDER BY root.size
