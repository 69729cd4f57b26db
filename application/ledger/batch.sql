-- One batch of appends, in one READ COMMITTED transaction; application/ledger/batch.py says why in this order.

-- Locks the head until the commit. Time is the database's, and never runs backwards in the log.
-- name: head
SELECT origin, size, frontier, greatest(committed_at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
FROM ledger.head
FOR UPDATE

-- Last revision and leaf of streams. Must be a statement of its own, after the head's: a statement that waits for the
-- lock goes on with the snapshot that it began with.
-- name: stream_heads
SELECT wanted.stream, last.rev, last.leaf
FROM unnest(%b::text[]) AS wanted (stream)
CROSS JOIN LATERAL (
    SELECT e.rev, e.leaf FROM ledger.entry AS e WHERE e.stream = wanted.stream ORDER BY e.rev DESC LIMIT 1
) AS last

-- Those of the subjects whose keys are there: nothing may be sealed under a key that is gone.
-- name: subjects
SELECT subject FROM ledger.subject_key WHERE subject = ANY(%b::text[])

-- What earlier requests under these Idempotency-Keys led to.
-- name: requests
SELECT known.actor, known.key, known.request_digest, known.first_index, known.count
FROM ledger.idempotency AS known
JOIN unnest(%b::text[], %b::text[]) AS wanted (actor, key) ON (known.actor, known.key) = (wanted.actor, wanted.key)

-- Which of these very entries are in the log already; a leaf never occurs twice.
-- name: same_entries
SELECT e.leaf, e.index
FROM unnest(%b::text[], %b::bigint[], %b::bytea[]) AS wanted (stream, rev, leaf)
JOIN ledger.entry AS e ON (e.stream, e.rev, e.leaf) = (wanted.stream, wanted.rev, wanted.leaf)

-- The statement comes as text: a parameter of type json would be encoded a second time.
-- name: insert_entries
INSERT INTO ledger.entry (index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at)
SELECT %b::bigint + new.number - 1, new.statement::json, new.actor_signature, new.ledger_signature, new.leaf, new.sealed,
    %b::bigint
FROM unnest(%b::text[], %b::bytea[], %b::bytea[], %b::bytea[], %b::bytea[]) WITH ORDINALITY
    AS new (statement, actor_signature, ledger_signature, leaf, sealed, number)

-- name: insert_requests
INSERT INTO ledger.idempotency (actor, key, request_digest, first_index, count)
SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::bigint[], %b::integer[])

-- name: insert_root
INSERT INTO ledger.root (size, root, committed_at) VALUES (%b, %b, %b)

-- name: move_head
UPDATE ledger.head SET size = %b, frontier = %b, committed_at = %b

-- Followers listen; the new size is sent when the transaction commits.
-- name: notify
SELECT pg_notify('ledger', %s)
