-- What the ledger knows of the cases and patients that a file brings.

-- name: imported
-- What was imported before under these blinded references.
SELECT known.actor, known.key, known.request_digest
FROM ledger.idempotency AS known
JOIN unnest(%b::text[], %b::text[]) AS wanted (actor, key) ON (known.actor, known.key) = (wanted.actor, wanted.key)

-- name: patients
-- Patients that were registered in a stretch of the log, and can still be read.
SELECT index, statement::text, actor_signature, ledger_signature, leaf, sealed, committed_at
FROM ledger.entry WHERE kind = 'patient.registered.v1' AND sealed IS NOT NULL AND index >= %s AND index < %s
ORDER BY index
