-- A change of origin after a restore; as the owner, in one transaction.

-- name: head
SELECT origin, size, frontier, greatest(committed_at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
FROM ledger.head FOR UPDATE

-- name: look
SELECT origin, size, frontier FROM ledger.head

-- name: last_note
-- The newest checkpoint that was signed; those of a restored copy are its old origin's.
SELECT size, note FROM ledger.checkpoint WHERE size <= %s ORDER BY size DESC LIMIT 1

-- name: entries
SELECT index, statement::text, actor_signature, ledger_signature, leaf
FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index

-- name: last_of_stream
SELECT rev, encode(leaf, 'hex') FROM ledger.entry WHERE stream = %s ORDER BY rev DESC LIMIT 1

-- name: other_sessions
-- Whoever serves, works or follows is connected as the service.
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = 'caseledger_service' AND pid <> pg_backend_pid()

-- name: dead_keys
-- Subjects' keys that are wrapped under a key-encryption key which is not there any more.
SELECT count(*) FROM ledger.subject_key WHERE NOT kek = ANY(%s)

-- name: insert_entry
INSERT INTO ledger.entry (index, statement, ledger_signature, leaf, sealed, committed_at)
VALUES (%s, %s::text::json, %s, %s, %s, %s)

-- name: insert_root
INSERT INTO ledger.root (size, root, committed_at) VALUES (%s, %s, %s)

-- name: move
-- The trigger lets the origin follow the entry above, and nothing else.
UPDATE ledger.head SET origin = %s, size = %s, frontier = %s, committed_at = %s

-- name: tell
SELECT pg_notify('ledger', %s)

-- name: first_tree
-- The first tree of an origin that took another's place.
SELECT root.size, root.root, root.committed_at FROM ledger.root
JOIN ledger.entry ON entry.index = root.size - 1
WHERE entry.kind = 'ledger.origin_succeeded.v1' AND entry.statement ->> 'origin' = %s
