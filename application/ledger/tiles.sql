-- Entries as their leaves are made of.

-- name: envelopes
SELECT index, statement::text, actor_signature, ledger_signature
FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index
