//! The stored texts of rows, in the order asked for, put together without parsing them.

use crate::Error;
use crate::binary::stored_text;
use crate::read::{StoredResource, whole};
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
    let rows: Vec<Stored> = sqlx::query_as(concat!(
        "SELECT r.type, r.id, r.version, (extract(epoch FROM r.last_updated) * 1000)::bigint, ",
        stored_text!("r", "r"),
        " FROM unnest($1::bigint[]) WITH ORDINALITY AS n(pk, place) JOIN resource r ON r.pk = n.pk \
         WHERE r.content IS NOT NULL ORDER BY n.place",
    ))
    .bind(rows)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| stored(definitions, row))
        .collect())
}

/// Type, id, version, milliseconds, and the text without resourceType.
pub(super) type Stored = (i16, String, i32, i64, String);

/// `None` for a type that the definitions do not have.
pub(super) fn stored(
    definitions: &Definitions,
    (number, id, version, last_updated_ms, content): Stored,
) -> Option<StoredResource> {
    let resource_type = definitions.type_name(number)?;
    Some(StoredResource {
        body: whole(resource_type, &content),
        key: ResourceKey::new(resource_type, id),
        version,
        last_updated_ms,
    })
}
