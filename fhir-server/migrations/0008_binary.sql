-- The content of a Binary as bytes: base64 takes a third more. docs/adr/0018-binary-content.md.

-- One row per version of a Binary that has data, whose JSON then stands without it. Versions that move to history leave theirs here.
CREATE TABLE binary_data (
    pk      bigint  NOT NULL,
    version integer NOT NULL,
    data    bytea   NOT NULL,
    PRIMARY KEY (pk, version)
);

-- The whole text of a version of a Binary, without resourceType: what was stored before, or with data as it is, stands in the resource.
CREATE FUNCTION binary_text(content jsonb, source text, of_pk bigint, of_version integer) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        source,
        (SELECT left(content::text, -1) || ', "data": "' || translate(encode(d.data, 'base64'), E'\n', '') || '"}'
         FROM binary_data d WHERE d.pk = of_pk AND d.version = of_version AND content IS NOT NULL),
        content::text)
$$;
