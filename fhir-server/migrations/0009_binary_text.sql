-- The same function in another language: of one in SQL the planner reads the text, to see whether that can stand in the place of the call, in
-- every statement that may call it. That doubled what a read costs. docs/adr/0018-binary-content.md.
CREATE OR REPLACE FUNCTION binary_text(content jsonb, source text, of_pk bigint, of_version integer) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce(
        source,
        (SELECT left(content::text, -1) || ', "data": "' || translate(encode(d.data, 'base64'), E'\n', '') || '"}'
         FROM binary_data d WHERE d.pk = of_pk AND d.version = of_version AND content IS NOT NULL),
        content::text);
END
$$;
