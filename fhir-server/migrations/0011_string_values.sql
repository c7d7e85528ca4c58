-- A walk along a date asks of each row whether its name is the one that is searched for: with the value in the index it need not read the row
-- (565 look-ups: 3.2 ms of CPU, now 2.3). That holds for pages that were vacuumed; what is inserted counts for that sooner than by default.
DROP INDEX sp_string_pk;
CREATE INDEX sp_string_pk ON sp_string (pk, key) INCLUDE (value);
ALTER TABLE sp_string SET (autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE sp_date SET (autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE sp_quantity SET (autovacuum_vacuum_insert_scale_factor = 0.05);
