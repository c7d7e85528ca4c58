//! The definitions of a database: taken over when a server starts, changed by the SearchParameter resources that are stored, followed by
//! every server (design invariant 12; docs/adr/0028-reindex.md).
//!
//! Every write reads the epoch of the site and is refused index rows by other definitions. A change of the definitions waits for the writes
//! that are under way, raises the epoch, and notes which types have to be indexed again; [`Store::reindex_step`] does that.

use crate::error::Error;
use crate::read;
use crate::store::Store;
use fhir_definitions::{Definitions, IndexState, ParameterKey};
use fhir_model::{Issue, IssueKind};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Most SearchParameter resources, active and retired, that are looked at; those stored first count.
const STORED_MAX: i64 = 10_000;

/// The type whose resources change the definitions.
pub(crate) const PARAMETER: &str = "SearchParameter";

/// How long a change of the definitions waits for writes that are under way, in milliseconds.
const LOCK_TIMEOUT_MS: u64 = 2_000;

/// What the database says, in one state.
struct Seen {
    /// Fingerprints, as in `site`.
    base: i64,
    definitions: i64,
    kept: i64,
    /// Differs where other SearchParameter resources are stored, or other versions of them.
    stored: i64,
    index: IndexState,
}

/// What is noted of an own parameter.
struct Noted {
    key: i16,
    definition: i64,
}

impl Store {
    /// Looks whether the definitions of the database, or how far it is indexed by them, have changed, and goes on with those. Tells whether
    /// anything has.
    ///
    /// # Errors
    /// [`Error::Refused`] (`Transient`) where another server was started with other data folders; database errors.
    pub async fn refresh(&self) -> Result<bool, Error> {
        let _turn = self.inner.adopting.lock().await;
        let pool = &self.inner.write_pool;
        let seen = read::retrying!(pool, seen(&mut *pool.acquire().await?, self.number()).await)?;
        let held = self.definitions();
        let stored = self.inner.stored.load(Ordering::SeqCst);
        if seen.index.epoch == held.index().epoch && seen.stored == stored {
            let changed = *held.index() != seen.index;
            if changed {
                self.hold(held.with_index(seen.index));
            }
            return Ok(changed);
        }
        self.same_base(&seen)?;
        let mut connection = pool.acquire().await?;
        let (definitions, _) = self.stored_definitions(&mut connection).await?;
        drop(connection);
        match definitions.fingerprint() as i64 == seen.definitions {
            true => {
                self.inner.stored.store(seen.stored, Ordering::SeqCst);
                self.hold(definitions.with_index(seen.index));
            }
            // They were stored by a server that died before it could say so.
            false => self.adopt_in_turn(false).await?,
        }
        Ok(true)
    }

    /// Makes the definitions of this server, with what is stored, the ones that writes must index by. `take_over`: also where another one
    /// was started with other data folders.
    ///
    /// # Errors
    /// As [`Store::refresh`]; `Unavailable` where writes are under way for so long that waiting for them would be too long.
    pub(crate) async fn adopt(&self, take_over: bool) -> Result<(), Error> {
        let _turn = self.inner.adopting.lock().await;
        self.adopt_in_turn(take_over).await
    }

    async fn adopt_in_turn(&self, take_over: bool) -> Result<(), Error> {
        let mut transaction = self.inner.write_pool.begin().await?;
        if !take_over {
            // Behind this lock all writes wait: where a long one is under way, it is tried again later.
            let wait = format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}");
            sqlx::raw_sql(AssertSqlSafe(wait))
                .execute(&mut *transaction)
                .await?;
        }
        // Writes hold this lock shared: after it, none is under way that has not seen the new epoch.
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(crate::write::EPOCH_LOCK)
            .execute(&mut *transaction)
            .await?;
        let before = seen(&mut transaction, self.number()).await?;
        if !take_over {
            self.same_base(&before)?;
        }
        let (definitions, refused) = self.stored_definitions(&mut transaction).await?;
        self.note(&mut transaction, &before, &definitions).await?;
        let after = seen(&mut transaction, self.number()).await?;
        transaction.commit().await?;
        for (id, reason) in refused {
            tracing::warn!(id, reason, "a stored SearchParameter is not used");
        }
        self.inner.stored.store(after.stored, Ordering::SeqCst);
        self.hold(definitions.with_index(after.index));
        Ok(())
    }

    /// Notes the definitions, and what has to be indexed again because of them.
    async fn note(
        &self,
        connection: &mut PgConnection,
        before: &Seen,
        definitions: &Definitions,
    ) -> Result<(), Error> {
        let core = definitions.core_fingerprint() as i64;
        let indexed: i64 = sqlx::query_scalar("SELECT core FROM site")
            .fetch_one(&mut *connection)
            .await?;
        let afresh = indexed != core || before.kept != before.definitions;
        if afresh {
            sqlx::raw_sql("DELETE FROM own_parameter; DELETE FROM reindex")
                .execute(&mut *connection)
                .await?;
        }
        let due = changed(connection, definitions).await?;
        let types: Vec<i16> = match afresh {
            true => (0..).take(definitions.resource_types().len()).collect(),
            false => due.into_iter().collect(),
        };
        note_types(connection, &types, afresh).await?;
        sqlx::raw_sql(
            "UPDATE own_parameter SET complete = true WHERE NOT complete AND type NOT IN (SELECT type FROM reindex)",
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "UPDATE site SET epoch = epoch + (definitions <> $1)::int, definitions = $1, kept = $1, base = $2, core = $3, \
             fingerprint = CASE WHEN EXISTS (SELECT FROM reindex) THEN 0 ELSE $1 END",
        )
        .bind(definitions.fingerprint() as i64)
        .bind(self.inner.base.fingerprint() as i64)
        .bind(core)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Those of the program and its folders, with the SearchParameter resources that are stored; and which of them cannot be used.
    async fn stored_definitions(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(Definitions, Vec<(String, String)>), Error> {
        let texts: Vec<String> = sqlx::query_scalar(
            "WITH stored AS MATERIALIZED (SELECT pk, coalesce(source, content::text) AS text FROM resource \
               WHERE type = $1 AND content ->> 'status' IN ('active', 'retired')) \
             SELECT text FROM stored ORDER BY pk LIMIT $2",
        )
        .bind(self.number())
        .bind(STORED_MAX)
        .fetch_all(connection)
        .await?;
        let resources: Vec<_> = texts
            .iter()
            .filter_map(|text| serde_json::from_str(text).ok())
            .collect();
        Ok(self.inner.base.with_stored(&resources))
    }

    fn hold(&self, definitions: Definitions) {
        self.inner.definitions.store(definitions.into());
    }

    fn number(&self) -> Option<i16> {
        self.inner.base.type_number(PARAMETER)
    }

    fn same_base(&self, seen: &Seen) -> Result<(), Error> {
        let is_same = seen.base == self.inner.base.fingerprint() as i64;
        match is_same && seen.kept == seen.definitions {
            true => Ok(()),
            false => Err(Error::refused(Issue::error(
                IssueKind::Transient,
                "another server has changed the definitions of the database; this one must be started again with the same",
            ))),
        }
    }
}

async fn seen(connection: &mut PgConnection, number: Option<i16>) -> Result<Seen, sqlx::Error> {
    let row = sqlx::query(
        "WITH progress AS (SELECT type, blocks, least(99, coalesce(100 * done / nullif(total, 0), 0))::smallint AS percent FROM reindex), \
         waiting AS (SELECT p.key, coalesce(r.percent, 0::smallint) AS percent FROM own_parameter p LEFT JOIN progress r USING (type) \
           WHERE NOT p.complete) \
         SELECT epoch, base, definitions, kept, \
           (SELECT coalesce(bit_xor(hashint8extended(pk, version::bigint)), 0) FROM resource WHERE type = $1 AND content IS NOT NULL), \
           ARRAY(SELECT key FROM waiting ORDER BY key), ARRAY(SELECT percent FROM waiting ORDER BY key), \
           ARRAY(SELECT type FROM progress WHERE blocks ORDER BY type), ARRAY(SELECT percent FROM progress WHERE blocks ORDER BY type) \
         FROM site",
    )
    .bind(number)
    .fetch_one(connection)
    .await?;
    let zipped = |keys: usize, percents: usize| -> Result<Vec<(i16, u8)>, sqlx::Error> {
        let keys: Vec<i16> = row.try_get(keys)?;
        let percents: Vec<i16> = row.try_get(percents)?;
        let small = |percent: i16| u8::try_from(percent).unwrap_or_default();
        Ok(keys
            .into_iter()
            .zip(percents.into_iter().map(small))
            .collect())
    };
    let parameters = zipped(5, 6)?.into_iter();
    Ok(Seen {
        base: row.try_get(1)?,
        definitions: row.try_get(2)?,
        kept: row.try_get(3)?,
        stored: row.try_get(4)?,
        index: IndexState {
            epoch: row.try_get(0)?,
            parameters: parameters
                .map(|(key, percent)| (ParameterKey(key), percent))
                .collect(),
            types: zipped(7, 8)?.into_iter().collect(),
        },
    })
}

/// Brings what is noted of the own parameters up to these; the types of those that are new or find something else now.
async fn changed(
    connection: &mut PgConnection,
    definitions: &Definitions,
) -> Result<BTreeSet<i16>, sqlx::Error> {
    let noted: Vec<(i16, i64)> = sqlx::query_as("SELECT key, definition FROM own_parameter")
        .fetch_all(&mut *connection)
        .await?;
    let noted: Vec<Noted> = noted
        .into_iter()
        .map(|(key, definition)| Noted { key, definition })
        .collect();
    let mut own: BTreeMap<i16, (i16, i64)> = BTreeMap::new();
    for (parameter, hash) in definitions.own_parameters() {
        if let Some(number) = definitions.type_number(&parameter.resource_type) {
            own.insert(parameter.key.0, (number, hash as i64));
        }
    }
    let is_there = |noted: &Noted| {
        own.get(&noted.key)
            .is_some_and(|own| own.1 == noted.definition)
    };
    let (same, gone): (Vec<Noted>, Vec<Noted>) = noted.into_iter().partition(is_there);
    for noted in &same {
        own.remove(&noted.key);
    }
    let gone: Vec<i16> = gone.iter().map(|noted| noted.key).collect();
    sqlx::query("DELETE FROM own_parameter WHERE key = ANY ($1)")
        .bind(gone)
        .execute(&mut *connection)
        .await?;
    let keys: Vec<i16> = own.keys().copied().collect();
    let (types, hashes): (Vec<i16>, Vec<i64>) = own.values().copied().unzip();
    let due = types.iter().copied().collect();
    sqlx::query(
        "INSERT INTO own_parameter (key, type, definition, complete) \
         SELECT key, type, definition, false FROM unnest($1::smallint[], $2::smallint[], $3::bigint[]) AS n(key, type, definition)",
    )
    .bind(keys)
    .bind(types)
    .bind(hashes)
    .execute(connection)
    .await?;
    Ok(due)
}

/// Notes that these types have to be indexed again, from the beginning; those without resources have not.
pub(crate) async fn note_types(
    connection: &mut PgConnection,
    types: &[i16],
    blocks: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO reindex (type, blocks) SELECT n, $2 FROM unnest($1::smallint[]) AS n \
         WHERE EXISTS (SELECT FROM entry WHERE type = n) \
         ON CONFLICT (type) DO UPDATE SET after = '', done = 0, total = NULL, begun = now(), blocks = reindex.blocks OR excluded.blocks",
    )
    .bind(types)
    .bind(blocks)
    .execute(connection)
    .await
    .map(drop)
}
