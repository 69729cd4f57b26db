-- What an actor's key signed: read when it is revoked. Few entries have an actor's signature.
CREATE INDEX entry_signed_by ON ledger.entry ((statement ->> 'key_id'), index) WHERE actor_signature IS NOT NULL;

-- The first entries of the log's own keys and of its witnesses'.
CREATE INDEX entry_service_key ON ledger.entry (index)
    WHERE rev = 1 AND kind IN ('ledger.key_proposed.v1', 'ledger.key_enrolled.v1');
