-- The ledger. Runs as the owner role; the service role may read and add, and may move the head forward. Nothing else.

CREATE SCHEMA ledger;

-- One row: the tree as it is committed. Its row lock is what puts every append of every process in one order.
CREATE TABLE ledger.head (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    origin       text NOT NULL,
    size         bigint NOT NULL CHECK (size >= 0),
    frontier     bytea NOT NULL,          -- roots of the perfect subtrees of the tree, largest first
    committed_at bigint NOT NULL          -- microseconds UTC, by the database's clock, never decreasing
);

-- One row an entry. The statement is kept as `json`, which stores the text as it came, byte for byte; `jsonb` would not.
-- What queries need is computed from it, so that it cannot disagree with what was signed.
CREATE TABLE ledger.entry (
    index            bigint PRIMARY KEY CHECK (index >= 0),
    statement        json NOT NULL,
    actor_signature  bytea CHECK (octet_length(actor_signature) = 64),
    ledger_signature bytea NOT NULL CHECK (octet_length(ledger_signature) = 64),
    leaf             bytea NOT NULL CHECK (octet_length(leaf) = 32),
    sealed           bytea,               -- the payload under its subject's key; NULL once erased
    committed_at     bigint NOT NULL,
    stream           text NOT NULL GENERATED ALWAYS AS (statement ->> 'stream') STORED,
    rev              bigint NOT NULL GENERATED ALWAYS AS ((statement ->> 'rev')::bigint) STORED,
    case_id          text GENERATED ALWAYS AS (statement ->> 'case') STORED,
    kind             text NOT NULL GENERATED ALWAYS AS (statement ->> 'kind') STORED
);
CREATE UNIQUE INDEX entry_stream_rev ON ledger.entry (stream, rev);
CREATE INDEX entry_case ON ledger.entry (case_id, index) WHERE case_id IS NOT NULL;

-- The root of every committed batch, unsigned: it is written in the batch's own transaction.
CREATE TABLE ledger.root (
    size         bigint PRIMARY KEY CHECK (size > 0),
    root         bytea NOT NULL CHECK (octet_length(root) = 32),
    committed_at bigint NOT NULL
);

-- The signed note over a committed root: written after that commit, by whichever process comes first.
CREATE TABLE ledger.checkpoint (
    size bigint PRIMARY KEY REFERENCES ledger.root (size),
    note text NOT NULL
);

-- Full tiles of 256 hashes (C2SP tlog-tiles). Derived from entries; the root is that of the tile's own subtree.
CREATE TABLE ledger.tile (
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index  bigint NOT NULL CHECK (index >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    root   bytea NOT NULL CHECK (octet_length(root) = 32),
    PRIMARY KEY (level, index)
);

-- What an Idempotency-Key led to, so that a repeated request gets the first one's answer.
CREATE TABLE ledger.idempotency (
    actor          text NOT NULL,
    key            text NOT NULL CHECK (length(key) BETWEEN 1 AND 100),
    request_digest bytea NOT NULL CHECK (octet_length(request_digest) = 32),
    first_index    bigint NOT NULL,
    count          integer NOT NULL CHECK (count > 0),
    PRIMARY KEY (actor, key)
);

-- A subject's key, wrapped by the key-encryption key that lives outside the database. Deleting the row erases the subject.
CREATE TABLE ledger.subject_key (
    subject    text PRIMARY KEY,
    wrapped    bytea NOT NULL,
    kek        text NOT NULL,             -- which key-encryption key wrapped it
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'ledger.% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;

-- The head moves forward only, and stays the head of the same ledger.
CREATE FUNCTION ledger.head_forward() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.size < OLD.size OR NEW.committed_at < OLD.committed_at OR NEW.origin <> OLD.origin
        OR (NEW.size = OLD.size AND NEW.frontier <> OLD.frontier) THEN
        RAISE EXCEPTION 'the head of the ledger only moves forward' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['entry', 'root', 'checkpoint', 'tile', 'idempotency'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.%I
                        FOR EACH ROW EXECUTE FUNCTION ledger.refuse()', t);
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON ledger.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse()', t);
        -- ALWAYS: session_replication_role = replica would bypass an ordinary trigger.
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only', t);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER never_truncated', t);
    END LOOP;
END
$$;
CREATE TRIGGER forward_only BEFORE UPDATE ON ledger.head FOR EACH ROW EXECUTE FUNCTION ledger.head_forward();
CREATE TRIGGER never_deleted BEFORE DELETE ON ledger.head FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON ledger.head FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
ALTER TABLE ledger.head ENABLE ALWAYS TRIGGER forward_only;
ALTER TABLE ledger.head ENABLE ALWAYS TRIGGER never_deleted;
ALTER TABLE ledger.head ENABLE ALWAYS TRIGGER never_truncated;

GRANT USAGE ON SCHEMA ledger TO caseledger_service;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO caseledger_service;
GRANT INSERT ON ledger.head, ledger.entry, ledger.root, ledger.checkpoint, ledger.tile, ledger.idempotency,
    ledger.subject_key TO caseledger_service;
GRANT UPDATE (size, frontier, committed_at) ON ledger.head TO caseledger_service;
