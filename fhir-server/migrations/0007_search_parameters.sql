-- Search parameters of the site that change while it runs, and a reindex that goes on where it stopped. docs/adr/0028-reindex.md.

-- Columns with a constant default and new tables: nothing is rewritten, and servers of the version before go on beside it.
ALTER TABLE site
    ADD COLUMN base bigint NOT NULL DEFAULT 0,  -- fingerprint of the definitions that come with the program and its data folders
    ADD COLUMN core bigint NOT NULL DEFAULT 0,  -- fingerprint of those that come with the program
    ADD COLUMN kept bigint NOT NULL DEFAULT 0;  -- `definitions` that the tables below are true for: another value there is of a server that does not know them

-- The site's own search parameters, from its files or stored.
CREATE TABLE own_parameter (
    key        smallint PRIMARY KEY,
    type       smallint NOT NULL,
    definition bigint   NOT NULL,               -- hash of what it finds in a resource
    complete   boolean  NOT NULL                -- every resource of the type is indexed by it: only then it is searched
);

-- The types whose resources are being indexed again, in the order of their ids.
CREATE TABLE reindex (
    type        smallint    PRIMARY KEY,
    blocks      boolean     NOT NULL,           -- until it is done no search of the type is right
    after       text COLLATE "C" NOT NULL DEFAULT '', -- done up to this id; set in the transaction that did it
    done        bigint      NOT NULL DEFAULT 0, -- resources
    total       bigint,                         -- null: not counted yet
    begun       timestamptz NOT NULL DEFAULT now(),
    owner       uuid,                           -- the server that works on it,
    alive_until timestamptz                     -- unless it has not been heard of until then
);
