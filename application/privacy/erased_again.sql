-- Erasures that were done again after a restore.

-- name: untold
-- Subjects that the fence outside the database brought back, and of which the restored log has content and no word. The
-- case is known by the entries that they sealed; a patient's stream belongs to none.
SELECT fence.subject, min(entry.case_id)
FROM ledger.fence JOIN ledger.entry ON entry.statement ->> 'subject' = fence.subject
WHERE fence.request IS NULL AND entry.case_id IS NOT NULL
    AND EXISTS (SELECT FROM ledger.entry AS e WHERE e.kind = 'ledger.origin_succeeded.v1')
    AND NOT EXISTS (
        SELECT FROM ledger.entry AS told
        WHERE told.case_id = entry.case_id AND told.kind = 'case.content_erased.v1'
            AND told.statement ->> 'object' = fence.subject
    )
GROUP BY fence.subject ORDER BY fence.subject
