-- The histories of a type and of all: older versions know their type, and lie in the order of time. docs/adr/0016-histories.md.

-- Rewrites what is in history once; writes wait meanwhile: some seconds for a million older versions.
ALTER TABLE resource_history ADD COLUMN type smallint;
UPDATE resource_history h SET type = r.type FROM resource r WHERE r.pk = h.pk;
ALTER TABLE resource_history ALTER COLUMN type SET NOT NULL;
CREATE INDEX resource_history_updated ON resource_history (type, last_updated, pk);

-- Current versions that are there lie in the order of time in `entry_updated`, so that a create writes no further index; deletions do here.
CREATE INDEX resource_deleted ON resource (type, last_updated, pk) WHERE content IS NULL AND version > 0;
