-- Read models. Each projection's table is made from its own file; here is what they share: how far each has been folded.

CREATE SCHEMA IF NOT EXISTS views;

CREATE TABLE IF NOT EXISTS views.position (
    name     text PRIMARY KEY,
    version  integer NOT NULL,             -- of the fold that made the rows
    shape    text NOT NULL,                -- digest of table and sealed content
    position bigint NOT NULL CHECK (position >= 0)  -- a tree size: entries below it are folded
);

GRANT USAGE ON SCHEMA views TO caseledger_service;
GRANT SELECT, UPDATE ON views.position TO caseledger_service;
