-- A database that came back from a backup older than what was released goes on under another origin (docs/ledger.md). The
-- head's origin changes with the entry that says so, in one transaction, and only by the owner: the service has no
-- right to that column.

-- One row for each restore.
CREATE INDEX entry_origin ON ledger.entry (index) WHERE kind = 'ledger.origin_succeeded.v1';

-- The head moves forward only; and stays the head of the same ledger, but for the one step over such an entry.
CREATE OR REPLACE FUNCTION ledger.head_forward() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.size < OLD.size OR NEW.committed_at < OLD.committed_at
        OR (NEW.size = OLD.size AND NEW.frontier <> OLD.frontier) THEN
        RAISE EXCEPTION 'the head of the ledger only moves forward' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.origin <> OLD.origin AND NOT (NEW.size = OLD.size + 1 AND EXISTS (
        SELECT FROM ledger.entry AS e
        WHERE e.index = OLD.size AND e.kind = 'ledger.origin_succeeded.v1' AND e.stream = 'key-origins'
            AND e.statement ->> 'origin' = NEW.origin
    )) THEN
        RAISE EXCEPTION 'the head of the ledger keeps its origin' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
