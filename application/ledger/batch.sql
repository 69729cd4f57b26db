-- One batch of appends, in one READ COMMITTED transaction; application/ledger/batch.py says why in this order.

-- name: head
-- Locks the head until the commit. Time is the database's, and never runs backwards in the log.
SELECT origin, size, frontier, greatest(committed_at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
FROM ledger.head
FOR UPDATE

-- name: look
-- Last revision and leaf of streams; and, with revision 0, those of the subjects whose keys are there: nothing may be
-- sealed under a key that is gone. Must be a statement of its own, after the head's: a statement that waits for the
-- lock goes on with the snapshot that it began with.
SELECT wanted.stream, last.rev, last.leaf
FROM unnest(%b::text[]) AS wanted (stream)
CROSS JOIN LATERAL (
    SELECT e.rev, e.leaf FROM ledger.entry AS e WHERE e.stream = wanted.stream ORDER BY e.rev DESC LIMIT 1
) AS last
UNION ALL
SELECT subject, 0, NULL FROM ledger.subject_key WHERE subject = ANY(%b::text[])

-- name: requests
-- What earlier requests under these Idempotency-Keys led to.
SELECT known.actor, known.key, known.request_digest, known.first_index, known.count
FROM ledger.idempotency AS known
JOIN unnest(%b::text[], %b::text[]) AS wanted (actor, key) ON (known.actor, known.key) = (wanted.actor, wanted.key)

-- name: same_entries
-- Which of these very entries are in the log already; a leaf never occurs twice.
SELECT e.leaf, e.index
FROM unnest(%b::text[], %b::bigint[], %b::bytea[]) AS wanted (stream, rev, leaf)
JOIN ledger.entry AS e ON (e.stream, e.rev, e.leaf) = (wanted.stream, wanted.rev, wanted.leaf)

-- name: write
-- Entries, root, head, and a word to the followers, which is sent when the transaction commits. One statement, since each
-- costs the writer some 100 us. The statement comes as text: a parameter of type json would be encoded a second time.
WITH entries AS (
    INSERT INTO ledger.entry (index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at)
    SELECT %b::bigint + new.number - 1, new.statement::json, new.actor_signature, new.ledger_signature, new.leaf,
        new.sealed, %b::bigint
    FROM unnest(%b::text[], %b::bytea[], %b::bytea[], %b::bytea[], %b::bytea[]) WITH ORDINALITY
        AS new (statement, actor_signature, ledger_signature, leaf, sealed, number)
), root AS (
    INSERT INTO ledger.root (size, root, committed_at) VALUES (%b, %b, %b)
), head AS (
    UPDATE ledger.head SET size = %b, frontier = %b, committed_at = %b
)
SELECT pg_notify('ledger', %s)

-- name: copy_entries
COPY ledger.entry (index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at)
FROM STDIN (FORMAT BINARY)

-- name: move
-- As `write`, behind entries that were copied.
WITH root AS (
    INSERT INTO ledger.root (size, root, committed_at) VALUES (%b, %b, %b)
), head AS (
    UPDATE ledger.head SET size = %b, frontier = %b, committed_at = %b
)
SELECT pg_notify('ledger', %s)

-- name: insert_requests
INSERT INTO ledger.idempotency (actor, key, request_digest, first_index, count)
SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::bigint[], %b::integer[])

-- name: erase
-- Behind the entries that say so, in their transaction; the function refuses subjects of which none does.
SELECT ledger.erase(%b::text[], %b::text[], %b::text[], %b::text)
