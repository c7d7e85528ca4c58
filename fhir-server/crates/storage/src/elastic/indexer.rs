//! Writes into the index what the outbox names: claim, take a version, read, write, refresh, and only then remove.
//!
//! A batch is one transaction, whose locks on the outbox rows keep other servers off them and end with the server. The version is taken after
//! the claim and before the rows are read, so of two documents of a resource the one with the greater version was read later, whoever wrote
//! it and however late it arrives; and what was committed before its outbox row was claimed is in it.

use super::Elastic;
use super::bulk::{Outcome, Trouble};
use super::client::ElasticError;
use super::state::State;
use crate::error::Error;
use crate::held::Held;
use crate::store::Store;
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// Outbox rows of a batch.
const BATCH: i64 = 2_000;

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Documents that were written.
    pub documents: u64,
    /// Of those, such as the index does not take.
    pub parked: u64,
    /// There may be more to do at once.
    pub more: bool,
    /// Some are to be tried again, later.
    pub again: u64,
}

pub(super) fn elastic(store: &Store) -> Result<&Elastic, Error> {
    let none = || Error::Start("ELASTICSEARCH_URL is not set: there is no search index".into());
    store.inner.elastic.as_ref().ok_or_else(none)
}

impl Store {
    /// Writes a batch of what has changed into the index.
    ///
    /// # Errors
    /// [`Error::Index`] where the cluster does not answer or refuses; database errors. What was not written stays to be written.
    pub async fn index_outbox(&self) -> Result<Round, Error> {
        let elastic = elastic(self)?;
        let round = self.outbox_round(elastic).await;
        // Without anything to write nobody was asked.
        if round
            .as_ref()
            .map_or(true, |round| *round != Round::default())
        {
            elastic.note(&round);
        }
        round
    }

    async fn outbox_round(&self, elastic: &Elastic) -> Result<Round, Error> {
        let mut held = Held::begun(&elastic.pool, "BEGIN").await?;
        let round = batch(elastic, &mut held).await;
        let end = match &round {
            Ok(_) => "COMMIT",
            Err(_) => "ROLLBACK",
        };
        sqlx::raw_sql(end).execute(&mut *held).await?;
        // Outside of the transaction, because it asks what others see; and whatever came of it, because then it counts what waits.
        elastic.low.look(&mut held).await?;
        held.rest();
        Ok(round?)
    }
}

async fn batch(elastic: &Elastic, connection: &mut PgConnection) -> Result<Round, Trouble> {
    let state = State::read(connection).await?;
    let indexes = state.indexes();
    if indexes.is_empty() {
        return Ok(Round::default());
    }
    let claimed: Vec<(i64, i64, i16)> = sqlx::query_as(
        "SELECT seq, pk, type FROM outbox WHERE seq >= $1 ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(elastic.low.get())
    .bind(BATCH)
    .fetch_all(&mut *connection)
    .await?;
    if claimed.is_empty() {
        return Ok(Round::default());
    }
    let pks: BTreeMap<i64, i16> = claimed
        .iter()
        .map(|(_, pk, number)| (*pk, *number))
        .collect();
    let version = next_version(connection).await?;
    let outcome = elastic
        .write_documents(connection, &indexes, version, &pks)
        .await?;
    elastic.refresh(&indexes).await?;
    if !is_still(connection, &state).await? {
        // An index has come up that these documents are not in, or gone: nothing is taken for written.
        return Ok(Round {
            more: true,
            ..Round::default()
        });
    }
    settle(connection, &indexes, version, &outcome).await?;
    let settled: Vec<i64> = claimed
        .iter()
        .filter(|(_, pk, _)| !outcome.again.contains(pk))
        .map(|(seq, ..)| *seq)
        .collect();
    sqlx::query("DELETE FROM outbox WHERE seq = ANY ($1)")
        .bind(&settled)
        .execute(connection)
        .await?;
    if settled.is_empty()
        && let Some(error) = outcome.trouble
    {
        return Err(error.into());
    }
    Ok(Round {
        documents: outcome.done.len() as u64,
        parked: outcome.parked.len() as u64,
        more: claimed.len() as i64 == BATCH,
        again: outcome.again.len() as u64,
    })
}

/// Taken once; read rows only in a later statement.
pub(super) async fn next_version(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT nextval('search_index_version')")
        .fetch_one(connection)
        .await
}

/// Whether the indexes are those that were written; they stay so until the transaction ends.
pub(super) async fn is_still(
    connection: &mut PgConnection,
    state: &State,
) -> Result<bool, sqlx::Error> {
    let same: Option<i64> =
        sqlx::query_scalar("SELECT epoch FROM search_index WHERE epoch = $1 FOR SHARE")
            .bind(state.epoch)
            .fetch_optional(connection)
            .await?;
    Ok(same.is_some())
}

/// Notes what the indexes did not take, forgets of what they took that they once did not, and that the batch is in them. An older document
/// never overrules what a newer one was told.
pub(super) async fn settle(
    connection: &mut PgConnection,
    indexes: &[String],
    version: i64,
    outcome: &Outcome,
) -> Result<(), sqlx::Error> {
    if !outcome.parked.is_empty() {
        let (mut names, mut pks, mut types, mut reasons) = (vec![], vec![], vec![], vec![]);
        for ((index, pk), parked) in &outcome.parked {
            tracing::warn!(
                pk,
                reason = parked.reason,
                "the search index does not take a resource: searches ask Postgres for it"
            );
            names.push(index.as_str());
            pks.push(*pk);
            types.push(parked.type_number);
            reasons.push(parked.reason.as_str());
        }
        sqlx::query(
            "INSERT INTO search_index_parked AS p (index, pk, type, version, reason) \
             SELECT i, k, t, $5, r FROM unnest($1::text[], $2::bigint[], $3::smallint[], $4::text[]) AS n(i, k, t, r) \
             ON CONFLICT (index, pk) DO UPDATE SET version = excluded.version, reason = excluded.reason, since = now() \
             WHERE p.version < excluded.version",
        )
        .bind(names)
        .bind(pks)
        .bind(types)
        .bind(reasons)
        .bind(version)
        .execute(&mut *connection)
        .await?;
    }
    let done: Vec<i64> = outcome.done.iter().copied().collect();
    sqlx::query(
        "DELETE FROM search_index_parked WHERE index = ANY ($1) AND pk = ANY ($2) AND version < $3",
    )
    .bind(indexes)
    .bind(done)
    .bind(version)
    .execute(&mut *connection)
    .await?;
    if outcome.trouble.is_none() {
        sqlx::query(
            "INSERT INTO search_index_mark AS m (index, version) SELECT unnest($1::text[]), $2 \
             ON CONFLICT (index) DO UPDATE SET version = greatest(m.version, excluded.version)",
        )
        .bind(indexes)
        .bind(version)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Whether the indexes should be looked at, before anything else is tried.
pub fn is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Index(ElasticError::Refused { status: 404, .. })
    )
}
