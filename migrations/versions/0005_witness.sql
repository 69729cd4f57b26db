-- What others, and the log's own post-quantum key, say of signed checkpoints. Nothing here is needed to append or to prove.

-- One row a cosignature: a signature line of kind 0x04 or 0x06 over the text of the checkpoint of that size.
CREATE TABLE ledger.cosignature (
    size     bigint NOT NULL REFERENCES ledger.root (size),
    name     text NOT NULL,               -- the cosigner's key name; the origin itself for the log's own
    key_hash bytea NOT NULL CHECK (octet_length(key_hash) = 4),
    time_s   bigint NOT NULL CHECK (time_s > 0),  -- POSIX seconds, by the cosigner's clock, as signed
    line     text NOT NULL,
    PRIMARY KEY (size, name, key_hash, time_s)
);

-- One row a token: the time-stamp response over the note as the log released it (RFC 3161), verified before it came here.
CREATE TABLE ledger.time_stamp (
    size     bigint NOT NULL REFERENCES ledger.root (size),
    time_us  bigint NOT NULL,             -- genTime, microseconds UTC
    response bytea NOT NULL CHECK (octet_length(response) BETWEEN 1 AND 65536),
    PRIMARY KEY (size, time_us, response)
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['cosignature', 'time_stamp'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.%I
                        FOR EACH ROW EXECUTE FUNCTION ledger.refuse()', t);
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON ledger.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse()', t);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only', t);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER never_truncated', t);
    END LOOP;
END
$$;

GRANT SELECT, INSERT ON ledger.cosignature, ledger.time_stamp TO caseledger_service;
