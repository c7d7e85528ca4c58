//! The stored texts of rows, in the order asked for, put together without parsing them.

use crate::Error;
use crate::binary::stored_text;
use crate::read::{StoredResource, whole};
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use serde_json::Value;
use sqlx::PgConnection;
use std::collections::BTreeSet;

/// The current versions of `rows`, in that order. A row that is deleted or absent is left out.
pub(super) async fn bodies(
    connection: &mut PgConnection,
    definitions: &Definitions,
    rows: &[i64],
) -> Result<Vec<StoredResource>, Error> {
    let rows = self::rows(connection, definitions, rows).await?;
    Ok(rows.into_iter().map(|row| row.resource).collect())
}

/// A row and what stands in it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub pk: i64,
    pub resource: StoredResource,
}

impl Row {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.resource.body).unwrap_or_default()
    }
}

/// The same with their row keys.
pub(super) async fn rows(
    connection: &mut PgConnection,
    definitions: &Definitions,
    rows: &[i64],
) -> Result<Vec<Row>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64, i16, String, i32, i64, String)> = sqlx::query_as(concat!(
        "SELECT r.pk, r.type, r.id, r.version, (extract(epoch FROM r.last_updated) * 1000)::bigint, ",
        stored_text!("r", "r"),
        " FROM unnest($1::bigint[]) WITH ORDINALITY AS n(pk, place) JOIN resource r ON r.pk = n.pk \
         WHERE r.content IS NOT NULL ORDER BY n.place",
    ))
    .bind(rows)
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(pk, number, id, version, last_updated_ms, content)| {
            let stored = stored(definitions, (number, id, version, last_updated_ms, content));
            stored.map(|resource| Row { pk, resource })
        })
        .collect())
}

/// Older versions: row keys with version numbers. One that is a deletion or was removed is left out.
pub(super) async fn versions(
    connection: &mut PgConnection,
    definitions: &Definitions,
    versions: &BTreeSet<(i64, i32)>,
) -> Result<Vec<StoredResource>, Error> {
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let (rows, numbers): (Vec<i64>, Vec<i32>) = versions.iter().copied().unzip();
    let found: Vec<Stored> = sqlx::query_as(concat!(
        "SELECT r.type, r.id, h.version, (extract(epoch FROM h.last_updated) * 1000)::bigint, ",
        stored_text!("r", "h"),
        " FROM unnest($1::bigint[], $2::integer[]) AS n(pk, version) JOIN resource_history h ON h.pk = n.pk AND h.version = n.version \
         JOIN resource r ON r.pk = n.pk WHERE h.content IS NOT NULL ORDER BY r.pk, h.version",
    ))
    .bind(rows)
    .bind(numbers)
    .fetch_all(connection)
    .await?;
    Ok(found
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
