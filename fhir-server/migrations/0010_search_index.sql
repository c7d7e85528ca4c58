-- The search index in Elasticsearch: which one is searched, which is being made, and what it does not take. docs/adr/0035-search-index.md.

-- New tables only: nothing is rewritten, and servers of the version before go on beside it as long as ELASTICSEARCH_URL is not set.
-- None of them is part of a backup: what is restored begins with an index of its own.

-- External versions of documents. Taken before the rows are read, so that of two documents of a resource the greater one was read later.
-- What somebody changes or deletes in the index by hand counts up by one: that does not come near the next of these.
CREATE SEQUENCE search_index_version INCREMENT BY 1000;

-- One row.
CREATE TABLE search_index (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation text    NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', ''), -- indexes say of which they are; a restore makes a new one
    epoch      bigint  NOT NULL DEFAULT 1,  -- grows when active or building change; outbox rows go only where it is still that of the writing
    layout     integer NOT NULL DEFAULT 0,  -- of the documents
    active     text,                        -- the index that is searched and written; null: none is complete
    building   text,                        -- the index that is being filled, and written
    served     timestamptz                  -- when a server that writes the index was last there
);
INSERT INTO search_index DEFAULT VALUES;

-- Indexes that are being filled with what is there; of the active one, that a type is sent again.
CREATE TABLE search_index_fill (
    index text        PRIMARY KEY,
    type  smallint,                         -- null: all
    after bigint      NOT NULL DEFAULT 0,   -- done up to this pk
    done  bigint      NOT NULL DEFAULT 0,   -- resources
    total bigint      NOT NULL,             -- about
    begun timestamptz NOT NULL DEFAULT now()
);

-- The greatest document version whose batch is in an index for certain: one that has less was put back to an older state.
CREATE TABLE search_index_mark (
    index   text   PRIMARY KEY,
    version bigint NOT NULL
);

-- Resources of which an index took no document. Searches ask Postgres for them.
CREATE TABLE search_index_parked (
    index   text        NOT NULL,
    pk      bigint      NOT NULL,
    type    smallint    NOT NULL,
    version bigint      NOT NULL,           -- of the document
    reason  text        NOT NULL,           -- what kind of error, no values
    since   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (index, pk)
);

-- Indexes that nobody needs any more, until they are deleted.
CREATE TABLE search_index_retired (
    index text        PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);
