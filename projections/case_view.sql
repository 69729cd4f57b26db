-- One row a case: what the queue needs in clear, none of it about the patient's person; everything else sealed.

CREATE TABLE {schema}.case_view (
    case_id         text COLLATE "C" PRIMARY KEY,
    revision        bigint NOT NULL,
    last_index      bigint NOT NULL,       -- log index of the case's latest event
    opened_at       bigint NOT NULL,       -- microseconds UTC
    changed_at      bigint NOT NULL,       -- microseconds UTC
    phase           text NOT NULL,
    coordinator     text,
    assignee        text,
    imaging_verdict text,
    due_from        text,
    due_by          text,
    clock           text,                  -- running, paused, stopped
    sealed          bytea                  -- under the case's key; NULL once that is gone
);
