-- What was worked out from a record (which pictures it has, what its documents say), sealed under the record's subject
-- key. It can be made again at any time, so it is replaced and deleted freely, and goes with the record's blob key.

CREATE TABLE records.derived (
    record text NOT NULL REFERENCES records.blob_key (record) ON DELETE CASCADE,
    kind   text NOT NULL CHECK (kind IN ('pictures', 'documents')),
    sealed bytea NOT NULL,
    PRIMARY KEY (record, kind)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON records.derived TO caseledger_service;
