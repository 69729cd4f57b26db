-- One batch of appends as one statement; application/ledger/direct.py says when, and why that is enough.

-- name: append
-- All of it, or nothing and no row: where the head is not the one that the batch was built on, a stream that it writes
-- to or relies on ends in another entry, a subject's key is gone, or a request came before.
WITH head AS (
    UPDATE ledger.head
    SET size = $4::bigint, frontier = $5::bytea,
        committed_at = greatest(committed_at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
    WHERE origin = $3::text AND size = $1::bigint AND frontier = $2::bytea
        AND NOT EXISTS (
            SELECT FROM unnest($7::text[], $8::bigint[], $9::text[]) AS relied (stream, rev, leaf)
            LEFT JOIN LATERAL (
                SELECT e.rev, e.leaf FROM ledger.entry AS e WHERE e.stream = relied.stream ORDER BY e.rev DESC LIMIT 1
            ) AS last ON true
            -- Of a guard only the leaf is known, and its revision NULL.
            WHERE coalesce(encode(last.leaf, 'hex'), '') <> relied.leaf OR coalesce(last.rev, 0) <> relied.rev
        )
        AND (SELECT count(*) FROM ledger.subject_key WHERE subject = ANY($10::text[])) = cardinality($10)
        AND NOT EXISTS (
            SELECT FROM unnest($11::text[], $12::text[]) AS wanted (actor, key)
            JOIN ledger.idempotency AS known ON (known.actor, known.key) = (wanted.actor, wanted.key)
        )
    RETURNING committed_at
), entries AS (
    INSERT INTO ledger.entry (index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at)
    SELECT $1 + new.number - 1, new.statement::json, new.actor_signature, new.ledger_signature, new.leaf, new.sealed,
        head.committed_at
    FROM head, unnest($16::text[], $17::bytea[], $18::bytea[], $19::bytea[], $20::bytea[]) WITH ORDINALITY
        AS new (statement, actor_signature, ledger_signature, leaf, sealed, number)
), root AS (
    INSERT INTO ledger.root (size, root, committed_at) SELECT $4, $6::bytea, committed_at FROM head
), requests AS (
    INSERT INTO ledger.idempotency (actor, key, request_digest, first_index, count)
    SELECT new.* FROM head, unnest($11::text[], $12::text[], $13::bytea[], $14::bigint[], $15::bigint[]) AS new
)
SELECT committed_at, pg_notify('ledger', $4::text) FROM head
