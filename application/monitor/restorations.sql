-- Restores that the log tells of.

-- name: restorations
-- Where the log goes on under another origin since it was restored: the first index, and its names before and from there.
SELECT new.index, old.statement ->> 'origin', new.statement ->> 'origin'
FROM ledger.entry AS new JOIN ledger.entry AS old ON old.index = new.index - 1
WHERE new.kind = 'ledger.origin_succeeded.v1' ORDER BY new.index
