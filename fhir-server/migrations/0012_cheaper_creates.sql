-- A string that two parameters find (a family name is a name) is one row, which says which parts it is of: docs/adr/0002-postgres-layout.md. Rows of
-- the version before are made anew by the reindex that other definitions bring; a server of that version goes on beside it, as to it all strings are whole.
ALTER TABLE sp_string ADD COLUMN parts smallint NOT NULL DEFAULT 0;
DROP INDEX sp_string_pk, sp_string_value;
CREATE INDEX sp_string_pk ON sp_string (pk, key) INCLUDE (parts, value);
CREATE INDEX sp_string_value ON sp_string (key, value, pk) INCLUDE (parts);

-- To analyse the tokens of a million rows takes seconds of CPU. At each fiftieth of new rows that was up to 0.5 ms for each of them; frequencies do not
-- change so fast, and a table that has grown by half is analysed by the search that notices.
ALTER TABLE entry SET (autovacuum_analyze_scale_factor = 0.1);
