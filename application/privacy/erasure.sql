-- What there is to erase, and what is still to be cleared away.

-- name: records
-- Records that entries of a case were sealed under, but for those that were erased before.
SELECT DISTINCT statement ->> 'subject' AS subject FROM ledger.entry
WHERE case_id = %s AND statement ->> 'subject' LIKE 'record:%%'
    AND NOT EXISTS (SELECT FROM ledger.fence AS f WHERE f.subject = statement ->> 'subject')
ORDER BY subject

-- name: openings
-- Openings of other cases that can still be read.
SELECT index, statement::text, actor_signature, ledger_signature, leaf, sealed, committed_at
FROM ledger.entry WHERE kind = 'case.opened.v1' AND sealed IS NOT NULL AND case_id <> %s ORDER BY index

-- name: pending
-- Requests that were executed and are not said to be completed yet.
SELECT DISTINCT f.request FROM ledger.fence AS f
WHERE f.request IS NOT NULL AND NOT EXISTS (
    SELECT FROM ledger.entry AS e WHERE e.stream = f.request AND e.kind = 'privacy.personal_data_erased.v1'
)
ORDER BY f.request

-- name: age
-- Seconds since an instant (microseconds UTC), by the clock that the log's times are of.
SELECT extract(epoch FROM clock_timestamp())::float8 - %s::bigint / 1000000.0::float8
