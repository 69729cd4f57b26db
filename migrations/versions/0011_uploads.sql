-- An upload becomes one record per study or document. Its own record is that of the first; each further one stands here,
-- with a key of its own, so that each can be erased alone. A tag says which study or document it is, keyed with the
-- upload's key: it tells nothing to who has no key.

ALTER TABLE intake.upload ADD COLUMN tag bytea CHECK (octet_length(tag) = 32);   -- NULL while it is of none in particular

CREATE TABLE intake.beside (
    upload     uuid NOT NULL REFERENCES intake.upload (id) ON DELETE CASCADE,
    tag        bytea NOT NULL CHECK (octet_length(tag) = 32),
    record_id  uuid NOT NULL UNIQUE,
    kind       text NOT NULL,
    sealed_key bytea,                     -- the record's age identity; NULL once the upload is abandoned
    PRIMARY KEY (upload, tag)
);

-- NULL: the upload's own record.
ALTER TABLE intake.file ADD COLUMN record_id uuid REFERENCES intake.beside (record_id) ON DELETE CASCADE;
CREATE INDEX file_record ON intake.file (record_id) WHERE record_id IS NOT NULL;

-- What a sender said a file's id is: the same again is answered as before.
CREATE TABLE intake.sent (
    upload     uuid NOT NULL REFERENCES intake.upload (id) ON DELETE CASCADE,
    id         text NOT NULL,
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    name_tag   bytea NOT NULL CHECK (octet_length(name_tag) = 32),
    PRIMARY KEY (upload, id),
    FOREIGN KEY (upload, sha256, name_tag) REFERENCES intake.file ON DELETE CASCADE
);
CREATE INDEX sent_file ON intake.sent (upload, sha256, name_tag);

-- Bytes of files that arrive right now; whoever takes one in keeps putting it right, and a row that nobody does is of
-- a process that died.
CREATE TABLE intake.arriving (
    id         uuid PRIMARY KEY,
    upload     uuid NOT NULL REFERENCES intake.upload (id) ON DELETE CASCADE,
    bytes      bigint NOT NULL CHECK (bytes >= 0),
    touched_at bigint NOT NULL
);
CREATE INDEX arriving_upload ON intake.arriving (upload);
CREATE INDEX upload_case ON intake.upload (case_id);

-- A writer that ended after its upload was settled left these bytes below a record; they go unless its manifest names
-- them.
CREATE TABLE intake.late (
    record_id  uuid NOT NULL,
    case_id    text NOT NULL,
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    PRIMARY KEY (record_id, sha256)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON intake.beside, intake.sent, intake.arriving, intake.late TO caseledger_service;

-- As before, and with the records beside an upload's own.
CREATE OR REPLACE FUNCTION ledger.destroy(subjects text[], cases text[], streams text[], request text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    gone text[];
BEGIN
    PERFORM pg_advisory_xact_lock(ledger.key_lock());
    -- Uploads under way in an erased case have no entry yet, and go with it.
    gone := subjects || ARRAY(
        SELECT 'record:' || u.record_id FROM intake.upload AS u WHERE 'case:' || u.case_id = ANY (subjects)
        UNION ALL
        SELECT 'record:' || b.record_id FROM intake.beside AS b JOIN intake.upload AS u ON u.id = b.upload
            WHERE 'case:' || u.case_id = ANY (subjects)
    );
    INSERT INTO ledger.fence (subject, request) SELECT DISTINCT s, destroy.request FROM unnest(gone) AS s
        ON CONFLICT DO NOTHING;
    DELETE FROM ledger.subject_key AS k WHERE k.subject = ANY (gone);
    DELETE FROM intake.beside AS b WHERE 'record:' || b.record_id = ANY (gone);
    DELETE FROM intake.late AS l WHERE 'record:' || l.record_id = ANY (gone);
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
