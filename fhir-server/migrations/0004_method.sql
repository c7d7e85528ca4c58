-- By which method a version came to be, for Bundle.entry.request of histories: P for POST, A for PATCH, null for PUT; what was written
-- before says null. A deletion is told by its null content. docs/adr/0016-histories.md.
-- Both tables get a column without being rewritten; null takes no room in a row, another value one byte.
ALTER TABLE resource ADD COLUMN method "char";
ALTER TABLE resource_history ADD COLUMN method "char";
