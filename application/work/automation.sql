-- How far an automation has read the log, and which cases its entries are of.

-- name: begin
INSERT INTO jobs.automation (name, position) VALUES (%s, 0) ON CONFLICT DO NOTHING

-- name: position
-- The lock on the row is held while it moves; whoever waited for it sees where it was moved to.
SELECT position, (SELECT coalesce(max(size), 0) FROM ledger.head) FROM jobs.automation WHERE name = %s FOR UPDATE

-- name: cases
SELECT case_id FROM ledger.entry
 WHERE index >= %s AND index < %s AND kind = ANY (%s) AND case_id IS NOT NULL
 GROUP BY case_id ORDER BY min(index)

-- name: move
UPDATE jobs.automation SET position = %s WHERE name = %s
