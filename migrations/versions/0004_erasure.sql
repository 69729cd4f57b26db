-- Erasure. A subject is fenced, its key and payloads go, and an entry says so: in one transaction, or not at all.

-- Subjects that were erased, for good: no key is ever made for one again. What stands here stands in a file outside the
-- database, too, and comes back from it after a restore.
CREATE TABLE ledger.fence (
    subject   text PRIMARY KEY,
    request   text,                       -- stream of the privacy request; NULL where the fence came back from the file
    fenced_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX fence_request ON ledger.fence (request);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.fence FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON ledger.fence FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
ALTER TABLE ledger.fence ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE ledger.fence ENABLE ALWAYS TRIGGER never_truncated;

-- Under which key-encryption key new subject keys are wrapped; no row before the first rotation.
CREATE TABLE ledger.kek (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    name text NOT NULL
);

-- Everybody who makes a key holds this lock shared until their commit; who fences, or turns the key, holds it alone. So
-- nobody makes a key that a fence beside it cannot see, and none is wrapped under a key that is about to go.
CREATE FUNCTION ledger.key_lock() RETURNS bigint LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
    AS $$ SELECT hashtextextended('caseledger/subject-keys', 0) $$;

-- A key of a fenced subject is not made: whoever asks for it finds none, which is what erased means. A key under a
-- key-encryption key that is no longer in use is refused, so that its maker reads the key files again.
CREATE FUNCTION ledger.admit_key() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(ledger.key_lock());
    -- A statement of its own, so with a snapshot taken after the lock.
    IF EXISTS (SELECT FROM ledger.fence AS f WHERE f.subject = NEW.subject) THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT FROM ledger.kek AS k WHERE k.name <> NEW.kek) THEN
        RAISE EXCEPTION 'the key-encryption key has been rotated' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER admitted BEFORE INSERT ON ledger.subject_key FOR EACH ROW EXECUTE FUNCTION ledger.admit_key();
ALTER TABLE ledger.subject_key ENABLE ALWAYS TRIGGER admitted;

-- The same for a record's blob key: sealed under a key that somebody still held in memory, it would only lie around.
CREATE FUNCTION records.admit_blob_key() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(ledger.key_lock());
    IF EXISTS (SELECT FROM ledger.fence AS f WHERE f.subject = 'record:' || NEW.record) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER admitted BEFORE INSERT ON records.blob_key FOR EACH ROW EXECUTE FUNCTION records.admit_blob_key();
ALTER TABLE records.blob_key ENABLE ALWAYS TRIGGER admitted;

-- The one thing that may happen to an entry: its payload goes, because its subject is fenced, and by the function below.
CREATE FUNCTION ledger.refuse_but_erasure() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    context text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        GET DIAGNOSTICS context = PG_CONTEXT;
        -- Generated columns are not compared: here they are not computed yet, and they follow from the statement.
        IF NEW.sealed IS NULL
            AND NEW.index = OLD.index
            AND NEW.statement::text = OLD.statement::text
            AND NEW.actor_signature IS NOT DISTINCT FROM OLD.actor_signature
            AND NEW.ledger_signature = OLD.ledger_signature
            AND NEW.leaf = OLD.leaf
            AND NEW.committed_at = OLD.committed_at
            AND context ~ '(?n)^PL/pgSQL function ledger\.destroy\(text\[\],text\[\],text\[\],text\) line'
            AND EXISTS (SELECT FROM ledger.fence AS f WHERE f.subject = OLD.statement ->> 'subject') THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'ledger.% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
DROP TRIGGER append_only ON ledger.entry;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.entry
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_but_erasure();
ALTER TABLE ledger.entry ENABLE ALWAYS TRIGGER append_only;

-- Fences subjects and destroys what stands under their keys. Payloads are looked for in these cases and streams; NULL for
-- both looks everywhere. For the owner alone; the service goes through `erase`.
CREATE FUNCTION ledger.destroy(subjects text[], cases text[], streams text[], request text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    gone text[];
BEGIN
    PERFORM pg_advisory_xact_lock(ledger.key_lock());
    -- Uploads under way in an erased case have no entry yet, and go with it.
    gone := subjects || ARRAY(
        SELECT 'record:' || u.record_id FROM intake.upload AS u WHERE 'case:' || u.case_id = ANY (subjects)
    );
    INSERT INTO ledger.fence (subject, request) SELECT DISTINCT s, destroy.request FROM unnest(gone) AS s
        ON CONFLICT DO NOTHING;
    DELETE FROM ledger.subject_key AS k WHERE k.subject = ANY (gone);
    DELETE FROM intake.upload AS u WHERE 'record:' || u.record_id = ANY (gone);
    DELETE FROM records.blob_key AS b WHERE 'record:' || b.record = ANY (gone);
    IF cases IS NULL AND streams IS NULL THEN
        UPDATE ledger.entry AS e SET sealed = NULL
            WHERE e.sealed IS NOT NULL AND e.statement ->> 'subject' = ANY (gone);
    ELSE
        UPDATE ledger.entry AS e SET sealed = NULL
            WHERE e.case_id = ANY (cases) AND e.sealed IS NOT NULL AND e.statement ->> 'subject' = ANY (gone);
        UPDATE ledger.entry AS e SET sealed = NULL
            WHERE e.stream = ANY (streams) AND e.sealed IS NOT NULL AND e.statement ->> 'subject' = ANY (gone);
    END IF;
    -- Whoever holds a key in memory drops it when this is committed.
    PERFORM pg_notify('fence', '');
END
$$;

-- What the service calls, inside the transaction that appends: no subject goes without the entry that says so.
CREATE FUNCTION ledger.erase(subjects text[], cases text[], streams text[], request text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    unsaid text;
BEGIN
    SELECT s INTO unsaid FROM unnest(subjects) AS s
    WHERE NOT EXISTS (
        SELECT FROM ledger.entry AS e
        WHERE e.case_id = ANY (cases) AND e.kind = 'case.content_erased.v1' AND e.statement ->> 'object' = s
            AND e.xmin = pg_current_xact_id()::xid
    );
    IF FOUND OR subjects IS NULL OR cases IS NULL OR streams IS NULL OR request IS NULL THEN
        RAISE EXCEPTION 'nothing is erased without the entry that says so' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM ledger.destroy(subjects, cases, streams, request);
END
$$;

-- Puts a subject's key under the key-encryption key that is in use. Only the bytes that the caller saw are replaced.
CREATE FUNCTION ledger.rewrap(subjects text[], seen bytea[], wrapped bytea[], kek text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    changed bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.kek AS k WHERE k.name = rewrap.kek) THEN
        RAISE EXCEPTION 'not the key-encryption key in use' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE ledger.subject_key AS s SET wrapped = w.after, kek = rewrap.kek
    FROM unnest(rewrap.subjects, rewrap.seen, rewrap.wrapped) AS w (subject, before, after)
    WHERE s.subject = w.subject AND s.wrapped = w.before;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;

-- From here on, keys are wrapped under this key-encryption key only.
CREATE FUNCTION ledger.turn_kek(name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(ledger.key_lock());
    INSERT INTO ledger.kek (name) VALUES (turn_kek.name) ON CONFLICT (one) DO UPDATE SET name = EXCLUDED.name;
END
$$;

REVOKE ALL ON FUNCTION ledger.destroy(text[], text[], text[], text), ledger.erase(text[], text[], text[], text),
    ledger.rewrap(text[], bytea[], bytea[], text), ledger.turn_kek(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.erase(text[], text[], text[], text),
    ledger.rewrap(text[], bytea[], bytea[], text), ledger.turn_kek(text) TO caseledger_service;
GRANT SELECT ON ledger.fence, ledger.kek TO caseledger_service;
