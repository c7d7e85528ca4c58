//! Surrogate keys: those set aside for new resources, and those of the targets of references.

use fhir_model::ResourceKey;
use sqlx::{PgConnection, Row};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Keys fetched from the sequence at once.
const BLOCK: usize = 512;
/// Targets remembered; a key never changes, so the memory is only cleared when it is full.
const KNOWN_MAX: usize = 100_000;

/// The keys this process knows without asking.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The least last: used in their order they fill the pages of indexes, which in any other order are split in halves.
    free: Mutex<Vec<i64>>,
    known: Mutex<HashMap<(i16, String), i64>>,
}

impl Keys {
    /// `count` keys that no row has or will have, the least last.
    pub(super) async fn fresh(
        &self,
        connection: &mut PgConnection,
        count: usize,
    ) -> Result<Vec<i64>, sqlx::Error> {
        if let Some(keys) = self.take(count) {
            return Ok(keys);
        }
        let mut fetched: Vec<i64> = sqlx::query_scalar(
            "SELECT nextval(pg_get_serial_sequence('resource', 'pk')) FROM generate_series(1, $1)",
        )
        .bind((count + BLOCK) as i64)
        .fetch_all(connection)
        .await?;
        fetched.reverse();
        let keys = fetched.split_off(fetched.len() - count);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.splice(..0, fetched);
        Ok(keys)
    }

    fn take(&self, count: usize) -> Option<Vec<i64>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let left = free.len().checked_sub(count)?;
        Some(free.split_off(left))
    }

    /// Keys that were not used after all.
    pub(super) fn give_back(&self, keys: Vec<i64>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(keys);
    }

    /// The keys of `targets`, (type number, id) each. One that is absent gets a row of version 0, which is no resource to anyone, so
    /// that references to it can be stored. Runs outside of any transaction: such a row locks nothing and is worth keeping.
    pub(super) async fn targets<'t>(
        &self,
        connection: &mut PgConnection,
        targets: impl IntoIterator<Item = &'t (i16, ResourceKey)>,
    ) -> Result<HashMap<ResourceKey, i64>, sqlx::Error> {
        let mut found = HashMap::new();
        let mut wanted: Vec<&(i16, ResourceKey)> = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for target in targets {
                match known.get(&(target.0, target.1.id.clone())) {
                    Some(pk) => drop(found.insert(target.1.clone(), *pk)),
                    None => wanted.push(target),
                }
            }
        }
        wanted.sort();
        wanted.dedup();
        for statement in [SELECT, INSERT, SELECT] {
            if wanted.is_empty() {
                break;
            }
            let types: Vec<i16> = wanted.iter().map(|target| target.0).collect();
            let ids: Vec<&str> = wanted.iter().map(|target| target.1.id.as_str()).collect();
            let rows = sqlx::query(statement)
                .bind(types)
                .bind(ids)
                .fetch_all(&mut *connection)
                .await?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() + rows.len() > KNOWN_MAX {
                known.clear();
            }
            for row in rows {
                let target = wanted[row.get::<i64, _>(0) as usize - 1];
                let pk = row.get(1);
                known.insert((target.0, target.1.id.clone()), pk);
                found.insert(target.1.clone(), pk);
            }
            wanted.retain(|target| !found.contains_key(&target.1));
        }
        Ok(found)
    }
}

const SELECT: &str = "SELECT k.place, r.pk FROM unnest($1::smallint[], $2::text[]) WITH ORDINALITY AS k(type, id, place) \
     CROSS JOIN LATERAL (SELECT pk FROM resource r WHERE r.type = k.type AND r.id = k.id LIMIT 1) r";

/// In sorted order, as every insert; what another one inserts meanwhile is found by the select that follows.
const INSERT: &str = "WITH k AS (SELECT * FROM unnest($1::smallint[], $2::text[]) WITH ORDINALITY AS k(type, id, place)), \
     i AS (INSERT INTO resource (type, id, version, last_updated) SELECT type, id, 0, 'epoch' FROM k ORDER BY type, id \
       ON CONFLICT DO NOTHING RETURNING pk, type, id) \
     SELECT k.place, i.pk FROM i JOIN k ON k.type = i.type AND k.id = i.id";
