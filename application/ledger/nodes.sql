-- Hashes of the tree, from entries and from full tiles.

-- name: leaves
SELECT leaf FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index

-- name: some_tiles
SELECT tile.level, tile.index, tile.hashes
FROM unnest(%s::smallint[], %s::bigint[]) AS wanted (level, index) JOIN ledger.tile USING (level, index)

-- name: some_roots
SELECT tile.level, tile.index, tile.root
FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[]) AS wanted (level, start, stop)
JOIN ledger.tile ON tile.level = wanted.level AND tile.index >= wanted.start AND tile.index < wanted.stop

-- name: tiles
SELECT index, hashes, root FROM ledger.tile WHERE level = %s AND index >= %s AND index < %s

-- name: tiles_stored
SELECT coalesce(max(index) + 1, 0) FROM ledger.tile WHERE level = %s

-- name: insert_tile
-- Derived from entries and made again if it is lost: no need to wait for the disk.
WITH quick AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO ledger.tile (level, index, hashes, root) SELECT %s::smallint, %s::bigint, %s::bytea, %s::bytea FROM quick
ON CONFLICT DO NOTHING
