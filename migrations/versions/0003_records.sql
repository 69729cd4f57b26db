-- The age key of a record's blobs, sealed under the record's subject key: who destroys that one destroys the content.

CREATE SCHEMA records;

CREATE TABLE records.blob_key (
    record text PRIMARY KEY,
    sealed bytea NOT NULL
);

GRANT USAGE ON SCHEMA records TO caseledger_service;
GRANT SELECT, INSERT ON records.blob_key TO caseledger_service;
