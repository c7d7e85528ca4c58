-- Requests that are worked on after they were answered (Prefer: respond-async). docs/adr/0021-jobs.md.
CREATE TABLE job (
    id          uuid        PRIMARY KEY,  -- random: who knows it may ask
    created     timestamptz NOT NULL DEFAULT now(),
    repeatable  boolean     NOT NULL,     -- reads only: may be begun again where a server died in the middle of it
    attempts    smallint    NOT NULL DEFAULT 0,
    request     bytea,                    -- what is to be done; null when it is done
    owner       uuid,                     -- the server that works on it,
    alive_until timestamptz,              -- unless it has not been heard of until then
    begun       timestamptz,
    finished    timestamptz,
    result      bytea                     -- null until it is done
);
CREATE INDEX job_open ON job (created) WHERE finished IS NULL;
CREATE INDEX job_finished ON job (finished) WHERE finished IS NOT NULL;
