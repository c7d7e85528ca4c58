//! Reads: current version, one version. One index look-up and string assembly each; no body is parsed.

use crate::binary::stored_text;
use crate::error::Error;
use crate::store::Store;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use sqlx::{PgConnection, PgExecutor};
use std::collections::HashMap;

/// A stored version of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResource {
    pub key: ResourceKey,
    pub version: i32,
    /// Milliseconds since 1970 UTC.
    pub last_updated_ms: i64,
    /// JSON text with resourceType.
    pub body: String,
}

/// A version of a resource: a body or a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    Present(StoredResource),
    Deleted {
        key: ResourceKey,
        version: i32,
        last_updated_ms: i64,
    },
}

/// Evaluates `$work` again on a connection that had died unnoticed in the pool (Postgres was restarted): there may be as many as the
/// pool holds. Only for work that leaves nothing behind.
macro_rules! retrying {
    ($pool:expr, $work:expr) => {{
        let mut attempts = $pool.options().get_max_connections();
        loop {
            let result: Result<_, sqlx::Error> = $work;
            match result {
                Err(error) if attempts > 0 && $crate::read::connection_lost(&error) => {
                    attempts -= 1
                }
                result => break result,
            }
        }
    }};
}
pub(crate) use retrying;

/// Version, milliseconds, text without resourceType (null: a deletion).
pub(crate) type Row = (i32, i64, Option<String>);

impl Store {
    /// The current version; `None` when there was never such a resource.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database is not reachable.
    pub async fn read(&self, key: &ResourceKey) -> Result<Option<Version>, Error> {
        let Some(number) = self.definitions().type_number(&key.resource_type) else {
            return Ok(None);
        };
        let pool = &self.inner.lookup_pool;
        let row = retrying!(pool, current(pool, number, key).await)?;
        Ok(row.map(|row| version_of(key, row)))
    }

    /// One version, current or older; `None` when there is no such version.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn vread(&self, key: &ResourceKey, version: i32) -> Result<Option<Version>, Error> {
        let Some(number) = self.definitions().type_number(&key.resource_type) else {
            return Ok(None);
        };
        let pool = &self.inner.lookup_pool;
        let row = retrying!(pool, one_version(pool, number, key, version).await)?;
        Ok(row.map(|row| version_of(key, row)))
    }
}

/// The current version, on this connection.
pub(crate) async fn current(
    connection: impl PgExecutor<'_>,
    type_number: i16,
    key: &ResourceKey,
) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT r.version, (extract(epoch FROM r.last_updated) * 1000)::bigint, ",
        stored_text!("r", "r"),
        " FROM resource r WHERE r.type = $1 AND r.id = $2 AND r.version > 0",
    ))
    .bind(type_number)
    .bind(&key.id)
    .fetch_optional(connection)
    .await
}

/// The current versions of many, in one statement. What was never there is not in it.
pub(crate) async fn currents<'k>(
    connection: &mut PgConnection,
    definitions: &Definitions,
    keys: impl Iterator<Item = &'k ResourceKey>,
) -> Result<HashMap<ResourceKey, Row>, sqlx::Error> {
    let known = |key: &'k ResourceKey| Some((definitions.type_number(&key.resource_type)?, key));
    let wanted: Vec<(i16, &ResourceKey)> = keys.filter_map(known).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(i64, i32, i64, Option<String>)> = sqlx::query_as(concat!(
        "SELECT k.place, r.version, (extract(epoch FROM r.last_updated) * 1000)::bigint, ",
        stored_text!("r", "r"),
        " FROM unnest($1::smallint[], $2::text[]) WITH ORDINALITY AS k(type, id, place) \
         CROSS JOIN LATERAL (SELECT * FROM resource r WHERE r.type = k.type AND r.id = k.id AND r.version > 0 LIMIT 1) r",
    ))
    .bind(wanted.iter().map(|(number, _)| *number).collect::<Vec<i16>>())
    .bind(wanted.iter().map(|(_, key)| key.id.as_str()).collect::<Vec<&str>>())
    .fetch_all(connection)
    .await?;
    let found = rows.into_iter().map(|(place, version, ms, text)| {
        let (_, key) = wanted[place as usize - 1];
        (key.clone(), (version, ms, text))
    });
    Ok(found.collect())
}

/// One version, on this connection.
pub(crate) async fn one_version(
    connection: impl PgExecutor<'_>,
    type_number: i16,
    key: &ResourceKey,
    version: i32,
) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT v.version, (extract(epoch FROM v.last_updated) * 1000)::bigint, ",
        stored_text!("r", "v"),
        " FROM resource r CROSS JOIN LATERAL ( \
           SELECT r.version, r.last_updated, r.content, r.source WHERE r.version = $3 \
           UNION ALL SELECT h.version, h.last_updated, h.content, h.source FROM resource_history h \
             WHERE h.pk = r.pk AND h.version = $3) v \
         WHERE r.type = $1 AND r.id = $2 AND v.version > 0",
    ))
    .bind(type_number)
    .bind(&key.id)
    .bind(version)
    .fetch_optional(connection)
    .await
}

pub(crate) fn version_of(key: &ResourceKey, (version, last_updated_ms, text): Row) -> Version {
    let key = key.clone();
    match text {
        Some(text) => Version::Present(StoredResource {
            body: whole(&key.resource_type, &text),
            key,
            version,
            last_updated_ms,
        }),
        None => Version::Deleted {
            key,
            version,
            last_updated_ms,
        },
    }
}

impl Version {
    pub fn key(&self) -> &ResourceKey {
        match self {
            Version::Present(stored) => &stored.key,
            Version::Deleted { key, .. } => key,
        }
    }

    pub fn number(&self) -> i32 {
        match self {
            Version::Present(stored) => stored.version,
            Version::Deleted { version, .. } => *version,
        }
    }

    pub fn last_updated_ms(&self) -> i64 {
        match self {
            Version::Present(stored) => stored.last_updated_ms,
            Version::Deleted {
                last_updated_ms, ..
            } => *last_updated_ms,
        }
    }
}

/// A stored text with its resourceType in front. It is never empty: every stored resource has an id.
pub(crate) fn whole(resource_type: &str, text: &str) -> String {
    let rest = text.strip_prefix('{').unwrap_or(text);
    format!("{{\"resourceType\":\"{resource_type}\",{rest}")
}

/// How many bytes later in the whole a place of the stored text is.
pub(crate) fn whole_offset(resource_type: &str) -> usize {
    whole(resource_type, "{").len() - 1
}

/// Whether the connection is gone, rather than the statement refused or the database not there at all.
pub(crate) fn connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => matches!(
            error.code().as_deref(),
            Some("57P01" | "57P02" | "57P03" | "08006" | "08003")
        ),
        _ => false,
    }
}
