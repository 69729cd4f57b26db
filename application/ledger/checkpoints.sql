-- Signed checkpoints.

-- name: insert_note
-- A note that is lost in a crash is signed again, to the same bytes: no need to wait for the disk.
WITH quick AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO ledger.checkpoint (size, note) SELECT %s::bigint, %s::text FROM quick ON CONFLICT DO NOTHING
