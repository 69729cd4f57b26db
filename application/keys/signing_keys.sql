-- Actors' signing keys.

-- name: signed_by
-- What a key signed, in the order of the log. An index of the entries with an actor's signature serves it.
SELECT index, statement::text FROM ledger.entry
WHERE actor_signature IS NOT NULL AND statement ->> 'key_id' = %s ORDER BY index
