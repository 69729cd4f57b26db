-- Uploads under way. Nothing here is a record: a row goes once its event is in the ledger, or its content is gone.
-- Personal data (file names, header facts, the record's key) stands sealed under the subject key of the record.

CREATE SCHEMA intake;

-- Microseconds UTC by the database's clock, which goes on inside a transaction.
CREATE FUNCTION intake.now() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog
    AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

CREATE TABLE intake.upload (
    id         uuid PRIMARY KEY,
    case_id    text NOT NULL,
    actor      text NOT NULL,
    kind       text NOT NULL,
    record_id  uuid NOT NULL UNIQUE,
    state      text NOT NULL CHECK (state IN ('open', 'finished', 'abandoned')),
    sealed_key bytea,                     -- the record's age identity; NULL once abandoned
    digest     bytea CHECK (octet_length(digest) = 32),
    opened_at  bigint NOT NULL,           -- intake.now()
    touched_at bigint NOT NULL,           -- likewise; a file that is still arriving keeps touching it
    CHECK ((state = 'abandoned') = (sealed_key IS NULL)),
    CHECK ((state = 'finished') = (digest IS NOT NULL))
);
CREATE INDEX upload_touched ON intake.upload (touched_at);

-- One row a file and name: the same bytes under the same name are one row, under another name one object and two rows.
CREATE TABLE intake.file (
    upload     uuid NOT NULL REFERENCES intake.upload (id) ON DELETE CASCADE,
    sha256     bytea NOT NULL CHECK (octet_length(sha256) = 32),
    name_tag   bytea NOT NULL CHECK (octet_length(name_tag) = 32),   -- keyed with the record's key: tells nothing
    bytes      bigint NOT NULL CHECK (bytes > 0),
    sealed     bytea NOT NULL,            -- name, media type, header facts, reason
    PRIMARY KEY (upload, sha256, name_tag)
);

GRANT USAGE ON SCHEMA intake TO caseledger_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON intake.upload, intake.file TO caseledger_service;
