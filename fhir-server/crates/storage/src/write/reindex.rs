//! Makes index rows again, from the bodies, while writes and searches go on: what a change of the definitions asks for, or somebody by hand.
//!
//! The work is noted by type (`reindex`) and done in batches, in the order of the ids. A batch and how far it came are one transaction, so a
//! server that dies loses nothing of it and no batch is counted that is not there. One server of a database works at a time; another takes over
//! where it is not heard of. A resource that is written meanwhile has newer rows, by the same definitions, and wins.

use super::apply::{self, Index};
use super::prepare::index_of;
use super::{EPOCH_LOCK, Keys};
use crate::definitions::note_types;
use crate::error::Error;
use crate::held::Held;
use crate::read;
use crate::store::Store;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use fhir_search::{SearchDocument, search_document};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

/// Most resources indexed in one transaction, and their bytes, as they lie in the database, after which no other is added.
const BATCH: i64 = 200;
const BATCH_BYTES: i64 = 1 << 20;
/// A server that is not heard of for so long is taken for dead. Two that work at one time do no harm: one of them finds its batch done.
const LEASE_SECONDS: f64 = 3.0;
/// How long to wait for another server's work.
const ELSEWHERE: Duration = Duration::from_millis(200);

/// pk, type, version, milliseconds, id, text.
type Resource = (i64, i16, i32, i64, String, String);

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many resources were indexed; 0: a type is done, or others were quicker.
    Worked(u64),
    /// Another server works on it.
    Elsewhere,
    /// There is nothing to do.
    Idle,
}

/// How far a type is indexed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub resource_type: String,
    /// Resources that were looked at, and of how many; `None`: not counted yet.
    pub done: u64,
    pub total: Option<u64>,
    pub begun_ms: i64,
}

impl Progress {
    /// 0 to 99: a type that is done is no longer among them.
    pub fn percent(&self) -> u8 {
        let total = self.total.unwrap_or_default().max(1);
        (self.done * 100 / total).min(99) as u8
    }
}

/// A type that this server works on.
struct Claimed {
    number: i16,
    after: String,
}

impl Store {
    /// Does a part of what has to be indexed again.
    ///
    /// # Errors
    /// What the database says; nothing is lost by trying again later.
    pub async fn reindex_step(&self) -> Result<Step, Error> {
        let Some(claimed) = self.claim().await? else {
            let any = sqlx::query_scalar("SELECT EXISTS (SELECT FROM reindex)")
                .fetch_one(&self.inner.write_pool)
                .await?;
            return Ok(match any {
                true => Step::Elsewhere,
                false => Step::Idle,
            });
        };
        let definitions = self.definitions();
        let resources = self.batch(&claimed).await?;
        let count = resources.len() as u64;
        let done = match resources.last() {
            None => self.finish(&definitions, &claimed).await?,
            Some(last) => {
                let last = last.4.clone();
                self.index(&definitions, &claimed, resources, last).await?
            }
        };
        match done {
            true => {
                if count == 0 {
                    self.refresh().await?;
                }
                Ok(Step::Worked(count))
            }
            false => {
                self.refresh().await?;
                Ok(Step::Worked(0))
            }
        }
    }

    /// Notes that resources of these types are to be indexed again (all types where there are none), but those of which that is noted already.
    ///
    /// # Errors
    /// Database errors.
    pub async fn start_reindex(&self, types: &[String]) -> Result<(), Error> {
        let definitions = self.definitions();
        let named = types
            .iter()
            .filter_map(|name| definitions.type_number(name));
        let numbers: Vec<i16> = match types.is_empty() {
            true => (0..).take(definitions.resource_types().len()).collect(),
            false => named.collect(),
        };
        let mut transaction = self.inner.write_pool.begin().await?;
        // Not beside a change of the definitions.
        sqlx::query("SELECT pg_advisory_xact_lock_shared($1)")
            .bind(EPOCH_LOCK)
            .execute(&mut *transaction)
            .await?;
        let noted: Vec<i16> = sqlx::query_scalar("SELECT type FROM reindex")
            .fetch_all(&mut *transaction)
            .await?;
        let noted: HashSet<i16> = noted.into_iter().collect();
        let fresh: Vec<i16> = numbers
            .into_iter()
            .filter(|number| !noted.contains(number))
            .collect();
        note_types(&mut transaction, &fresh, false).await?;
        Ok(transaction.commit().await?)
    }

    /// Indexes every resource again, and waits until that is done, here or by the servers of the database; tells how many there were.
    ///
    /// # Errors
    /// Database errors; what was indexed until then stays, and goes on with the next call or server.
    pub async fn reindex(&self) -> Result<u64, Error> {
        self.start_reindex(&[]).await?;
        let mut count = 0;
        loop {
            let progress = self.reindex_progress().await?;
            count = progress
                .iter()
                .filter_map(|progress| progress.total)
                .sum::<u64>()
                .max(count);
            match self.reindex_step().await? {
                Step::Worked(_) => {}
                Step::Elsewhere => tokio::time::sleep(ELSEWHERE).await,
                Step::Idle => break,
            }
        }
        let there: i64 = sqlx::query_scalar("SELECT count(*) FROM entry")
            .fetch_one(&self.inner.write_pool)
            .await?;
        Ok(count.max(there.unsigned_abs()))
    }

    /// What is being indexed again, by type.
    ///
    /// # Errors
    /// Database errors.
    pub async fn reindex_progress(&self) -> Result<Vec<Progress>, Error> {
        let pool = &self.inner.write_pool;
        let rows = read::retrying!(
            pool,
            sqlx::query(
                "SELECT type, done, total, (extract(epoch FROM begun) * 1000)::bigint FROM reindex ORDER BY type",
            )
            .fetch_all(pool)
            .await
        )?;
        let definitions = self.definitions();
        rows.iter()
            .map(|row| {
                let total: Option<i64> = row.try_get(2)?;
                Ok(Progress {
                    resource_type: definitions
                        .type_name(row.try_get(0)?)
                        .unwrap_or_default()
                        .to_owned(),
                    done: row.try_get::<i64, _>(1)?.unsigned_abs(),
                    total: total.map(i64::unsigned_abs),
                    begun_ms: row.try_get(3)?,
                })
            })
            .collect()
    }

    /// Lets others go on with what this server has begun.
    ///
    /// # Errors
    /// Database errors.
    pub async fn leave_reindex(&self) -> Result<(), Error> {
        sqlx::query("UPDATE reindex SET owner = NULL WHERE owner = $1::uuid")
            .bind(self.inner.owner.to_string())
            .execute(&self.inner.write_pool)
            .await?;
        Ok(())
    }

    /// Indexes until no type is left of which no search is right.
    pub(crate) async fn index_what_blocks(&self) -> Result<(), Error> {
        let mut count = 0;
        while !self.definitions().index().types.is_empty() {
            match self.reindex_step().await? {
                Step::Worked(some) => count += some,
                Step::Elsewhere | Step::Idle => {
                    tokio::time::sleep(ELSEWHERE).await;
                    self.refresh().await?;
                }
            }
        }
        if count > 0 {
            tracing::info!(
                count,
                "the index was made by another version of the program; resources were indexed again"
            );
        }
        self.leave_reindex().await
    }

    /// A type: none where another server is at work. Counts what there is to do where nobody has.
    async fn claim(&self) -> Result<Option<Claimed>, Error> {
        let pool = &self.inner.write_pool;
        let row: Option<(i16, String, Option<i64>)> = read::retrying!(
            pool,
            sqlx::query_as(
                "UPDATE reindex SET owner = $1::uuid, alive_until = now() + make_interval(secs => $2) \
                 WHERE type = (SELECT type FROM reindex ORDER BY blocks DESC, type LIMIT 1) \
                   AND (owner IS NULL OR owner = $1::uuid OR alive_until < now()) \
                   AND NOT EXISTS (SELECT FROM reindex WHERE owner <> $1::uuid AND alive_until > now()) \
                 RETURNING type, after, total",
            )
            .bind(self.inner.owner.to_string())
            .bind(LEASE_SECONDS)
            .fetch_optional(pool)
            .await
        )?;
        let Some((number, after, total)) = row else {
            return Ok(None);
        };
        if total.is_none() {
            sqlx::query(
                "UPDATE reindex SET total = (SELECT count(*) FROM entry WHERE type = $1) WHERE type = $1 AND total IS NULL",
            )
            .bind(number)
            .execute(pool)
            .await?;
        }
        Ok(Some(Claimed { number, after }))
    }

    /// The next resources.
    async fn batch(&self, claimed: &Claimed) -> Result<Vec<Resource>, Error> {
        let pool = &self.inner.write_pool;
        let resources = read::retrying!(
            pool,
            sqlx::query_as(
                "SELECT pk, type, version, (extract(epoch FROM last_updated) * 1000)::bigint, id, coalesce(source, content::text) FROM ( \
                   SELECT *, sum(pg_column_size(content)) OVER (ORDER BY id) - pg_column_size(content) AS bytes_before FROM ( \
                     SELECT * FROM resource WHERE type = $1 AND id > $2 AND content IS NOT NULL ORDER BY id LIMIT $3) next) sized \
                 WHERE bytes_before < $4 ORDER BY id",
            )
            .bind(claimed.number)
            .bind(&claimed.after)
            .bind(BATCH)
            .bind(BATCH_BYTES)
            .fetch_all(pool)
            .await
        )?;
        Ok(resources)
    }

    /// Indexes the resources, the last of which has the id `last`. Not where the definitions have changed, or another one did it meanwhile.
    async fn index(
        &self,
        definitions: &Definitions,
        claimed: &Claimed,
        resources: Vec<Resource>,
        last: String,
    ) -> Result<bool, Error> {
        let count = resources.len() as i64;
        let mut documents = Vec::with_capacity(resources.len());
        let mut wanted = Vec::new();
        for resource in resources {
            let Some(document) = self.document(definitions, &resource) else {
                tracing::warn!(pk = resource.0, "a stored resource cannot be indexed");
                continue;
            };
            for reference in &document.references {
                if let Some(number) = definitions.type_number(&reference.target.resource_type) {
                    wanted.push((number, reference.target.clone()));
                }
            }
            documents.push((resource, document));
        }
        // At work until all is done: an error in between may leave a transaction that the driver knows nothing of.
        let mut connection = Held::of(&self.inner.write_pool).await?;
        connection.work();
        let keys: &Keys = &self.inner.keys;
        let targets = keys.targets(&mut connection, &wanted).await?;
        let vocabulary = &self.inner.vocabulary;
        let entries = documents
            .iter()
            .flat_map(|(_, document)| &document.vocabulary);
        let learned = vocabulary.learn(&mut connection, entries).await?;

        let mut transaction = connection.begin_with(AssertSqlSafe(begin())).await?;
        let current = is_current(&mut transaction, definitions, claimed).await?;
        if current {
            let pks: Vec<i64> = documents.iter().map(|(resource, _)| resource.0).collect();
            // In the order in which commits lock rows.
            let versions: Vec<(i64, i32)> = sqlx::query_as(
                "SELECT pk, version FROM resource WHERE pk = ANY ($1) ORDER BY type, id FOR UPDATE",
            )
            .bind(pks)
            .fetch_all(&mut *transaction)
            .await?;
            let versions: HashSet<(i64, i32)> = versions.into_iter().collect();
            let unchanged: Vec<(i64, i16, i64, Index<'_>)> = documents
                .into_iter()
                .filter(|(resource, _)| versions.contains(&(resource.0, resource.2)))
                .map(|(resource, document)| {
                    let index = index_of(Cow::Owned(document), &targets);
                    (resource.0, resource.1, resource.3, index)
                })
                .collect();
            let pks: Vec<i64> = unchanged.iter().map(|resource| resource.0).collect();
            apply::index(&mut transaction, unchanged).await?;
            note_for_index(&mut transaction, &pks).await?;
            sqlx::query("UPDATE reindex SET after = $2, done = done + $3 WHERE type = $1")
                .bind(claimed.number)
                .bind(last)
                .bind(count)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        vocabulary.confirm(learned);
        connection.rest();
        Ok(current)
    }

    /// Says that every resource of the type is indexed.
    async fn finish(&self, definitions: &Definitions, claimed: &Claimed) -> Result<bool, Error> {
        let mut connection = Held::of(&self.inner.write_pool).await?;
        connection.work();
        let mut transaction = connection.begin_with(AssertSqlSafe(begin())).await?;
        let current = is_current(&mut transaction, definitions, claimed).await?;
        if current {
            sqlx::query("DELETE FROM reindex WHERE type = $1")
                .bind(claimed.number)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE own_parameter SET complete = true WHERE type = $1")
                .bind(claimed.number)
                .execute(&mut *transaction)
                .await?;
            sqlx::raw_sql(
                "UPDATE site SET fingerprint = definitions WHERE NOT EXISTS (SELECT FROM reindex)",
            )
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        connection.rest();
        Ok(current)
    }

    fn document(&self, definitions: &Definitions, resource: &Resource) -> Option<SearchDocument> {
        let key = ResourceKey::new(definitions.type_name(resource.1)?, resource.4.as_str());
        let whole = read::whole(&key.resource_type, &resource.5);
        let resource = serde_json::from_str(&whole).ok()?;
        Some(search_document(definitions, &resource, self.base()))
    }
}

/// The rows are others now, of versions that the search index has: where one is kept it is told. Locked, so that none is begun meanwhile that
/// reads the rows as they were and is told nothing.
async fn note_for_index(connection: &mut PgConnection, pks: &[i64]) -> Result<(), sqlx::Error> {
    let is_kept: bool = sqlx::query_scalar(
        "SELECT active IS NOT NULL OR building IS NOT NULL FROM search_index FOR SHARE",
    )
    .fetch_one(&mut *connection)
    .await?;
    if is_kept {
        sqlx::query(
            "INSERT INTO outbox (pk, type, version) SELECT pk, type, version FROM resource WHERE pk = ANY ($1)",
        )
        .bind(pks)
        .execute(connection)
        .await?;
    }
    Ok(())
}

fn begin() -> String {
    format!("BEGIN; SELECT pg_advisory_xact_lock_shared({EPOCH_LOCK})")
}

/// Whether the definitions are those of the database, and the type has come no further than was claimed; it comes no further meanwhile.
async fn is_current(
    connection: &mut PgConnection,
    definitions: &Definitions,
    claimed: &Claimed,
) -> Result<bool, sqlx::Error> {
    let after: Option<String> = sqlx::query_scalar(
        "SELECT after FROM reindex WHERE type = $1 AND (SELECT epoch FROM site) = $2 FOR UPDATE",
    )
    .bind(claimed.number)
    .bind(definitions.index().epoch)
    .fetch_optional(connection)
    .await?;
    Ok(after.as_ref() == Some(&claimed.after))
}
