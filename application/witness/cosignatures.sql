-- Cosignatures and time stamps of checkpoints.

-- name: insert_cosignature
INSERT INTO ledger.cosignature (size, name, key_hash, time_s, line)
VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING

-- name: lines
-- The newest line of each cosigner of one size.
SELECT DISTINCT ON (name, key_hash) name, key_hash, line
FROM ledger.cosignature WHERE size = %s ORDER BY name, key_hash, time_s DESC

-- name: cosigned_sizes
-- The newest cosigned sizes from a size on, and by whom.
SELECT size, array_agg(DISTINCT name), array_agg(DISTINCT key_hash), max(time_s)
FROM ledger.cosignature WHERE size >= %s AND name = ANY(%s)
GROUP BY size ORDER BY size DESC LIMIT %s

-- name: last_by
-- The largest size from a size on that a cosigner has signed, and when last.
SELECT size, time_s FROM ledger.cosignature
WHERE name = %s AND key_hash = ANY(%s) AND size >= %s ORDER BY size DESC, time_s DESC LIMIT 1

-- name: insert_time_stamp
INSERT INTO ledger.time_stamp (size, time_us, response) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING

-- name: time_stamps
SELECT response FROM ledger.time_stamp WHERE size = %s ORDER BY time_us LIMIT %s

-- name: last_stamped
-- The newest stamped size from a size on, and when.
SELECT size, time_us FROM ledger.time_stamp WHERE size >= %s ORDER BY size DESC, time_us DESC LIMIT 1
