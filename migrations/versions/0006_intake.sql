-- Transfers that go on where they broke. A part is one file, or one archive, that is still arriving; its bytes stand in
-- the vault as segments, each encrypted by itself, since an encrypted stream cannot be continued by another process.

-- Counted as files come, so that no question needs to count them again.
ALTER TABLE intake.upload ADD COLUMN files bigint NOT NULL DEFAULT 0, ADD COLUMN total_bytes bigint NOT NULL DEFAULT 0;
UPDATE intake.upload u SET (files, total_bytes) =
    (SELECT count(*), coalesce(sum(f.bytes), 0) FROM intake.file f WHERE f.upload = u.id);

-- Until this instant the event may still be on its way into the ledger; nobody but who sent it may end the upload.
ALTER TABLE intake.upload ADD COLUMN committing_until bigint NOT NULL DEFAULT 0;

CREATE TABLE intake.part (
    id          uuid PRIMARY KEY,
    upload      uuid NOT NULL REFERENCES intake.upload (id) ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind IN ('file', 'archive')),
    state       text NOT NULL CHECK (state IN ('open', 'done')),
    received    bigint NOT NULL DEFAULT 0 CHECK (received >= 0),   -- bytes that are durable
    length      bigint CHECK (length >= 0),                        -- bytes of the whole, once announced
    busy_until  bigint NOT NULL DEFAULT 0,   -- who assembles the segments keeps putting this off
    sealed      bytea NOT NULL,              -- name, announced digest
    answer      bytea,                       -- sealed: what became of it
    CHECK ((state = 'done') = (answer IS NOT NULL))
);
CREATE INDEX part_upload ON intake.part (upload);

CREATE TABLE intake.segment (
    part    uuid NOT NULL REFERENCES intake.part (id) ON DELETE CASCADE,
    starts  bigint NOT NULL CHECK (starts >= 0),
    bytes   bigint NOT NULL CHECK (bytes > 0),
    id      uuid NOT NULL,
    sha256  bytea NOT NULL CHECK (octet_length(sha256) = 32),
    PRIMARY KEY (part, starts)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON intake.part, intake.segment TO caseledger_service;
