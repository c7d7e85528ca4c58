//! What a commit is decided on: its rows locked, the epoch, the time.

use crate::binary::stored_text;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use sqlx::PgConnection;
use std::collections::HashMap;

/// A row of `resource`, locked.
#[derive(Clone, Debug)]
pub(super) struct Locked {
    pub pk: i64,
    /// 0: only referenced so far.
    pub version: i32,
    pub last_updated_ms: i64,
    /// `None`: deleted or absent.
    pub text: Option<String>,
}

/// The state the commit is decided on.
#[derive(Default)]
pub(super) struct Ground {
    pub rows: HashMap<ResourceKey, Locked>,
    pub epoch: i64,
    /// The database's clock after the last lock, in milliseconds since 1970 UTC.
    pub now_ms: i64,
}

/// Type, id, pk, version, milliseconds, text; of the site its epoch; of the database its clock.
type Row = (
    Option<i16>,
    Option<String>,
    Option<i64>,
    Option<i32>,
    Option<i64>,
    Option<String>,
    i64,
    i64,
);

/// Locks the rows of `keys` in the order of type and id, as everyone does; those of `shared` only against being changed.
pub(super) async fn lock_rows(
    connection: &mut PgConnection,
    definitions: &Definitions,
    keys: Vec<(i16, &str)>,
    shared: Vec<(i16, &str)>,
) -> Result<Ground, sqlx::Error> {
    let statement = match shared.is_empty() {
        true => LOCK,
        false => LOCK_SHARED,
    };
    let own = keys.into_iter().map(|key| (key, false));
    let mut keys: Vec<_> = own
        .chain(shared.into_iter().map(|key| (key, true)))
        .collect();
    // Of one that is in both the stronger lock comes first, and stays.
    keys.sort_unstable();
    keys.dedup_by_key(|(key, _)| *key);
    let types: Vec<i16> = keys.iter().map(|(key, _)| key.0).collect();
    let ids: Vec<&str> = keys.iter().map(|(key, _)| key.1).collect();
    let is_shared: Vec<bool> = keys.iter().map(|(_, shared)| *shared).collect();
    let mut query = sqlx::query_as(statement).bind(types).bind(ids);
    if statement == LOCK_SHARED {
        query = query.bind(is_shared);
    }
    let rows: Vec<Row> = query.fetch_all(connection).await?;
    let mut ground = Ground {
        rows: HashMap::with_capacity(keys.len()),
        epoch: 0,
        now_ms: 0,
    };
    for (number, id, pk, version, last_updated_ms, text, epoch, now_ms) in rows {
        ground.epoch = epoch;
        ground.now_ms = ground.now_ms.max(now_ms);
        let (Some(number), Some(id), Some(pk), Some(version), Some(last_updated_ms)) =
            (number, id, pk, version, last_updated_ms)
        else {
            continue;
        };
        let Some(resource_type) = definitions.type_name(number) else {
            continue;
        };
        ground.rows.insert(
            ResourceKey::new(resource_type, id),
            Locked {
                pk,
                version,
                last_updated_ms,
                text,
            },
        );
    }
    Ok(ground)
}

// One row after the other in the order given: nothing is left to the planner. The clock is read as each row leaves the inner part, so after
// the last lock in the last row.
macro_rules! lock {
    ($keys:literal, $rows:literal) => {
        concat!(
            "WITH l AS MATERIALIZED (SELECT l.* FROM (SELECT * FROM ",
            $keys,
            " ORDER BY place) k ",
            $rows,
            ") SELECT l.type, l.id, l.pk, l.version, (extract(epoch FROM l.last_updated) * 1000)::bigint, ",
            stored_text!("l", "l"),
            ", s.epoch, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint ",
            "FROM site s LEFT JOIN l ON true"
        )
    };
}

const LOCK: &str = lock!(
    "unnest($1::smallint[], $2::text[]) WITH ORDINALITY AS k(type, id, place)",
    "CROSS JOIN LATERAL (SELECT r.* FROM resource r WHERE r.type = k.type AND r.id = k.id FOR UPDATE) l"
);

/// With each key whether its row is only to stay as it is. Of the two joins one gives the row.
const LOCK_SHARED: &str = lock!(
    "unnest($1::smallint[], $2::text[], $3::bool[]) WITH ORDINALITY AS k(type, id, shared, place)",
    "LEFT JOIN LATERAL (SELECT r.* FROM resource r WHERE NOT k.shared AND r.type = k.type AND r.id = k.id FOR UPDATE) a ON true \
     LEFT JOIN LATERAL (SELECT r.* FROM resource r WHERE k.shared AND r.type = k.type AND r.id = k.id FOR SHARE) b ON true \
     CROSS JOIN LATERAL (SELECT coalesce(a.type, b.type) AS type, coalesce(a.id, b.id) AS id, coalesce(a.pk, b.pk) AS pk, \
       coalesce(a.version, b.version) AS version, coalesce(a.last_updated, b.last_updated) AS last_updated, \
       coalesce(a.content, b.content) AS content, coalesce(a.source, b.source) AS source) l"
);
