-- Entries as they stand in the log: by stream, by index, by kind.

-- name: stream
SELECT index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at
FROM ledger.entry WHERE stream = %s AND rev > %s AND rev <= %s ORDER BY rev LIMIT %s

-- name: stream_backwards
SELECT index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at
FROM ledger.entry WHERE stream = %s AND rev > %s AND rev <= %s ORDER BY rev DESC LIMIT %s

-- name: range
SELECT index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at
FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index

-- name: log
SELECT index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at
FROM ledger.entry WHERE index >= %s AND index < %s AND (%s::text[] IS NULL OR kind = ANY(%s)) ORDER BY index LIMIT %s
