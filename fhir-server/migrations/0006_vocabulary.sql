-- The distinct texts, codes, uris and units that resources are found by: what searches by a part of a value (starts-with, words, paths) look
-- up, to go on with the hashes of whole values. docs/adr/0025-vocabulary.md.

-- Rows come before the resources that need them, in commits of their own, and are never changed nor deleted while servers run.
CREATE TABLE vocabulary (
    parameter smallint NOT NULL,              -- number of the (type, parameter) pair; 0: of all
    kind      smallint NOT NULL,              -- 1 text (normalised), 2 code (letter case folded), 3 uri, 4 unit (system|code)
    value     text COLLATE "C" NOT NULL,
    PRIMARY KEY (parameter, kind, value)
);
