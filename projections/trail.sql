-- One row an entry that names a case, in the log's order: what the statement says in clear, and a summary, sealed.

CREATE TABLE {schema}.trail (
    index        bigint PRIMARY KEY,
    case_id      text NOT NULL,
    stream       text NOT NULL,
    rev          bigint NOT NULL,
    kind         text NOT NULL,
    actor        text NOT NULL,
    role         text NOT NULL,
    recorded_at  bigint NOT NULL,          -- microseconds UTC, as are the others
    committed_at bigint NOT NULL,
    occurred_at  bigint,
    purpose      text NOT NULL,
    cause        text NOT NULL,
    object       text,
    version      text,
    outcome      text,
    leaf         text NOT NULL,
    subject      text,                     -- whose key seals the summary
    sealed       bytea                     -- NULL once that key is gone
);
CREATE INDEX ON {schema}.trail (case_id, index);
