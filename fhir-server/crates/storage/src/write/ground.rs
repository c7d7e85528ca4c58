//! What a commit is decided on: its rows locked, the epoch, the time.

use crate::binary::stored_text;
use crate::read;
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

impl Ground {
    /// Those of `keys` that were there, as they are read.
    pub(super) fn read(&self, keys: &[&ResourceKey]) -> HashMap<ResourceKey, read::Row> {
        let there = |key: &&ResourceKey| {
            let row = self.rows.get(*key).filter(|row| row.version > 0)?;
            let read = (row.version, row.last_updated_ms, row.text.clone());
            Some(((*key).clone(), read))
        };
        keys.iter().filter_map(there).collect()
    }
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

/// What is wanted of a row, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// It is locked to be changed.
    Change,
    /// It is locked against being changed.
    Stay,
    /// It is read.
    Read,
}

/// Locks and reads rows in the order of type and id, as everyone does.
pub(super) async fn lock_rows(
    connection: &mut PgConnection,
    definitions: &Definitions,
    mut keys: Vec<((i16, &str), Hold)>,
) -> Result<Ground, sqlx::Error> {
    let statement = match keys.iter().all(|(_, hold)| *hold == Hold::Change) {
        true => LOCK,
        false => LOCK_AND_READ,
    };
    // Of one that is wanted twice the stronger lock comes first, and stays.
    keys.sort_unstable();
    keys.dedup_by_key(|(key, _)| *key);
    let types: Vec<i16> = keys.iter().map(|(key, _)| key.0).collect();
    let ids: Vec<&str> = keys.iter().map(|(key, _)| key.1).collect();
    let holds: Vec<i16> = keys.iter().map(|(_, hold)| *hold as i16).collect();
    let mut query = sqlx::query_as(statement).bind(types).bind(ids);
    if statement == LOCK_AND_READ {
        query = query.bind(holds);
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

/// With each key what is wanted of its row ([`Hold`]). Of the three joins one gives the row.
const LOCK_AND_READ: &str = lock!(
    "unnest($1::smallint[], $2::text[], $3::smallint[]) WITH ORDINALITY AS k(type, id, hold, place)",
    "LEFT JOIN LATERAL (SELECT r.* FROM resource r WHERE k.hold = 0 AND r.type = k.type AND r.id = k.id FOR UPDATE) a ON true \
     LEFT JOIN LATERAL (SELECT r.* FROM resource r WHERE k.hold = 1 AND r.type = k.type AND r.id = k.id FOR SHARE) b ON true \
     LEFT JOIN LATERAL (SELECT r.* FROM resource r WHERE k.hold = 2 AND r.type = k.type AND r.id = k.id LIMIT 1) c ON true \
     CROSS JOIN LATERAL (SELECT coalesce(a.type, b.type, c.type) AS type, coalesce(a.id, b.id, c.id) AS id, coalesce(a.pk, b.pk, c.pk) AS pk, \
       coalesce(a.version, b.version, c.version) AS version, coalesce(a.last_updated, b.last_updated, c.last_updated) AS last_updated, \
       coalesce(a.content, b.content, c.content) AS content, coalesce(a.source, b.source, c.source) AS source) l"
);

#[cfg(test)]
mod tests {
    use crate::change::{Answer, Change, Read, Target, VersionMatch};
    use crate::read::Version;
    use crate::testing;
    use fhir_model::ResourceKey;
    use serde_json::json;

    fn basic(id: &str) -> ResourceKey {
        ResourceKey::new("Basic", id)
    }

    /// What is read with the rows that are locked, or after what the commit itself changes.
    #[tokio::test]
    async fn what_is_read_at_the_end_is_what_is_there_then() {
        let store = testing::store().await;
        let update = |id: &str| Change::Update {
            target: Target::Id(basic(id)),
            version: VersionMatch::Any,
            may_create: true,
            resource: json!({"resourceType": "Basic", "id": id, "created": format!("2026-01-{:02}", id.len())}),
            full_url: None,
        };
        let deletion = Change::Delete {
            target: Target::Id(basic("gone")),
            version: VersionMatch::Any,
            at_most: 1,
        };
        let all = vec![update("a"), update("gone")];
        store.commit(all).await.unwrap();
        store.commit(vec![deletion]).await.unwrap();
        let read = |id: &str, version| Read::Instance(basic(id), version);
        let said = |answers: Vec<Answer>| -> Vec<Option<(i32, bool)>> {
            let version = |answer| match answer {
                Answer::Version(version) => version,
                Answer::Page(_) => panic!("nothing was searched for"),
            };
            let found = answers.into_iter().map(version);
            found
                .map(|found| found.map(|own| (own.number(), matches!(own, Version::Present(_)))))
                .collect()
        };
        let others = [
            read("a", VersionMatch::Is(1)),
            read("gone", VersionMatch::Any),
            read("none", VersionMatch::Any),
        ];
        let (_, answers) = store.transact(vec![update("bb")], &others).await.unwrap();
        assert_eq!(said(answers), [Some((1, true)), Some((2, false)), None]);
        let own = [read("ccc", VersionMatch::Any), read("a", VersionMatch::Any)];
        let (_, answers) = store.transact(vec![update("ccc")], &own).await.unwrap();
        assert_eq!(said(answers), [Some((1, true)), Some((1, true))]);
        let other_version = [read("a", VersionMatch::Is(2))];
        let refused = store.transact(vec![update("dddd")], &other_version).await;
        assert_eq!(refused.unwrap_err().index, Some(1));
        assert!(store.read(&basic("dddd")).await.unwrap().is_none());
    }
}
