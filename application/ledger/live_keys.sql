-- The log's own keys.

-- name: key_stream
-- A key's history, as far as it stands in clear: the successor is the object of the entry that ends it.
SELECT kind, index, statement ->> 'object', encode(leaf, 'hex') FROM ledger.entry WHERE stream = %s ORDER BY rev
