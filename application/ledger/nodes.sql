-- Hashes of the tree, from entries and from full tiles.

-- name: leaves
SELECT leaf FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index

-- name: tile_roots
SELECT index, root FROM ledger.tile WHERE level = %s AND index >= %s AND index < %s

-- name: tiles
SELECT index, hashes, root FROM ledger.tile WHERE level = %s AND index >= %s AND index < %s

-- name: tiles_stored
SELECT coalesce(max(index) + 1, 0) FROM ledger.tile WHERE level = %s

-- name: insert_tile
-- Derived from entries and made again if it is lost: no need to wait for the disk.
WITH quick AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO ledger.tile (level, index, hashes, root) SELECT %s::smallint, %s::bigint, %s::bytea, %s::bytea FROM quick
ON CONFLICT DO NOTHING
