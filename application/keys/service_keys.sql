-- The service's own keys and its witnesses'.

-- name: service_keys
-- A service key's stream begins with its proposal, or, for the first two, with the enrolment.
SELECT stream FROM ledger.entry
WHERE rev = 1 AND kind IN ('ledger.key_proposed.v1', 'ledger.key_enrolled.v1')
ORDER BY index
