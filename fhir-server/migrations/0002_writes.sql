-- What writes cost: locks and inserts in one statement, and pages that are full. docs/adr/0003-one-write-road.md.

-- Takes the locks of a commit, then looks at the site: each statement of a volatile function sees what was committed before it began, so
-- the epoch is the one under the locks although the caller's statement began before them. Gives the database's clock, in milliseconds since
-- 1970 UTC; fails as a serialization failure does where the definitions are not those that the caller's index rows were made by.
CREATE FUNCTION write_ground(epoch_lock bigint, locks bigint[], expected bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    present bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(epoch_lock);
    PERFORM pg_advisory_xact_lock(k) FROM unnest(locks) AS k;
    SELECT epoch INTO present FROM site;
    IF present IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'the definitions have changed' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN floor(extract(epoch FROM clock_timestamp()) * 1000);
END
$$;

-- A fifth of each page was kept free for updates in place. Most resources are written once, and what takes that room seldom fits into it.
ALTER TABLE resource RESET (fillfactor);

-- Every look-up by token reads all of the list that waits to be merged: a quarter of it is read in half the time, and costs bulk loads little more.
ALTER INDEX entry_gin SET (gin_pending_list_limit = 256);

-- In the order of time new rows come last, and full pages stay full; newest first is the same index read backwards.
-- Writes wait while it is built: about a second for a million resources.
CREATE INDEX entry_updated ON entry (type, last_updated, pk);
DROP INDEX entry_recent;
