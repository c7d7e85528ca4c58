//! The stored texts of rows, in the order asked for, put together without parsing them.

use crate::Error;
use crate::read::StoredResource;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use sqlx::PgConnection;

/// The current versions of `rows`, in that order. A row that is deleted or absent is left out.
pub(super) async fn bodies(
    connection: &mut PgConnection,
    definitions: &Definitions,
    rows: &[i64],
) -> Result<Vec<StoredResource>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let stored: Vec<(i16, String, i32, i64, String)> = sqlx::query_as(
        "SELECT r.type, r.id, r.version, (extract(epoch FROM r.last_updated) * 1000)::bigint, \
         coalesce(r.source, r.content::text) \
         FROM unnest($1::bigint[]) WITH ORDINALITY AS n(pk, place) JOIN resource r ON r.pk = n.pk \
         WHERE r.content IS NOT NULL ORDER BY n.place",
    )
    .bind(rows)
    .fetch_all(connection)
    .await?;
    Ok(stored
        .into_iter()
        .filter_map(|(number, id, version, last_updated_ms, content)| {
            let resource_type = definitions.type_name(number)?;
            Some(StoredResource {
                body: whole(resource_type, &content),
                key: ResourceKey::new(resource_type, id),
                version,
                last_updated_ms,
            })
        })
        .collect())
}

/// A stored body with its resourceType in front.
fn whole(resource_type: &str, content: &str) -> String {
    let rest = content.strip_prefix('{').unwrap_or(content);
    let comma = if rest.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    format!("{{\"resourceType\":\"{resource_type}\"{comma}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_type_in_front() {
        for (content, body) in [
            ("{}", r#"{"resourceType":"Basic"}"#),
            (r#"{"id": "a"}"#, r#"{"resourceType":"Basic","id": "a"}"#),
        ] {
            assert_eq!(whole("Basic", content), body);
        }
    }
}
