-- Signed checkpoints.

-- name: insert_note
-- A note that is lost in a crash is signed again, to the same bytes: no need to wait for the disk.
WITH quick AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO ledger.checkpoint (size, note) SELECT $1::bigint, $2::text FROM quick ON CONFLICT DO NOTHING

-- name: last_succession
-- Where the present origin began, if the log was ever restored: its first entry's index is the restored tree's size.
SELECT max(index) FROM ledger.entry WHERE kind = 'ledger.origin_succeeded.v1'
HAVING max(index) IS NOT NULL

-- name: first_size
-- The first tree from a size on that is signed, or can be: what an earlier origin left unsigned stays so.
SELECT min(size) FROM ledger.root WHERE size >= %s
    AND (size > %s OR EXISTS (SELECT FROM ledger.checkpoint AS c WHERE c.size = root.size))
