//! Fills an index with all that is there, in the order of the keys, while the outbox goes on into it too; or sends a type again.
//!
//! A batch and how far it came are one transaction: a server that dies loses a batch, and another one, or the same, goes on with it. Versions are
//! taken before the rows are read, as those of the outbox are, so what is sent here is never newer than it says.

use super::Elastic;
use super::bulk::Trouble;
use super::indexer::{self, Round};
use super::state::{self, Next, Old, State};
use crate::error::Error;
use crate::held::Held;
use crate::store::Store;
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// Resources of a batch.
const BATCH: i64 = 2_000;

struct Fill {
    index: String,
    type_number: Option<i16>,
    after: i64,
}

impl Store {
    /// Writes a batch of what is there into an index that is being made; when all is there, that is the one which is searched. Nothing where
    /// there is none, or another server is at it.
    ///
    /// # Errors
    /// [`Error::Index`] where the cluster does not answer or refuses; database errors. It goes on with the next call.
    pub async fn index_fill(&self) -> Result<Round, Error> {
        let elastic = indexer::elastic(self)?;
        let mut held = Held::begun(&elastic.pool, "BEGIN").await?;
        let step = match step(elastic, &mut held).await {
            Ok(step) => step,
            Err(trouble) => {
                held.roll_back().await?;
                return Err(trouble.into());
            }
        };
        sqlx::raw_sql("COMMIT").execute(&mut *held).await?;
        if let Step::Filled(fill) = &step {
            finish(elastic, &mut held, fill).await?;
        }
        held.rest();
        Ok(match step {
            Step::Idle => Round::default(),
            Step::Worked(round) => round,
            Step::Filled(_) => Round {
                more: true,
                ..Round::default()
            },
        })
    }

    /// Makes a new index of all resources, beside the one that is searched until then; of a type, sends its resources again into that. False:
    /// it is under way already.
    ///
    /// # Errors
    /// [`Error::Index`]; database errors; [`Error::Start`] for a type that there is not.
    pub async fn index_rebuild(&self, of_type: Option<&str>) -> Result<bool, Error> {
        let elastic = indexer::elastic(self)?;
        let mut connection = elastic.pool.acquire().await?;
        let state = State::read(&mut connection).await?;
        let Some(name) = of_type else {
            if state.building.is_some() {
                return Ok(false);
            }
            let active = state.active.clone().filter(|_| !state.indexes().is_empty());
            return state::begin(elastic, &mut connection, &state, active, Old::Retired).await;
        };
        let unknown = || Error::Start(format!("{name} is no resource type of this server"));
        let number = self.definitions().type_number(name).ok_or_else(unknown)?;
        let Some(active) = &state.active else {
            return Ok(false);
        };
        let begun = sqlx::query(
            "INSERT INTO search_index_fill (index, type, total) SELECT $1, $2, count(*) FROM entry WHERE type = $2 ON CONFLICT DO NOTHING",
        )
        .bind(active)
        .bind(number)
        .execute(&mut *connection)
        .await?;
        Ok(begun.rows_affected() == 1)
    }
}

enum Step {
    Idle,
    Worked(Round),
    Filled(Fill),
}

async fn step(elastic: &Elastic, connection: &mut PgConnection) -> Result<Step, Trouble> {
    let found: Option<(String, Option<i16>, i64)> = sqlx::query_as(
        "SELECT index, type, after FROM search_index_fill ORDER BY begun, index LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some((index, type_number, after)) = found else {
        return Ok(Step::Idle);
    };
    let fill = Fill {
        index,
        type_number,
        after,
    };
    let state = State::read(connection).await?;
    if ![&state.active, &state.building].contains(&&Some(fill.index.clone())) {
        sqlx::query("DELETE FROM search_index_fill WHERE index = $1")
            .bind(&fill.index)
            .execute(connection)
            .await?;
        return Ok(Step::Worked(Round {
            more: true,
            ..Round::default()
        }));
    }
    if state.indexes().is_empty() {
        return Ok(Step::Idle);
    }
    let version = indexer::next_version(connection).await?;
    let pks: Vec<(i64, i16)> = sqlx::query_as(
        "SELECT pk, type FROM entry WHERE pk > $1 AND ($2::smallint IS NULL OR type = $2) ORDER BY pk LIMIT $3",
    )
    .bind(fill.after)
    .bind(fill.type_number)
    .bind(BATCH)
    .fetch_all(&mut *connection)
    .await?;
    let Some((last, _)) = pks.last().copied() else {
        return Ok(Step::Filled(fill));
    };
    let indexes = [fill.index.clone()];
    let pks: BTreeMap<i64, i16> = pks.into_iter().collect();
    let outcome = elastic
        .write_documents(connection, &indexes, version, &pks)
        .await?;
    if let Some(error) = outcome.trouble {
        // What was written is as good as the next time.
        return Err(error.into());
    }
    indexer::settle(connection, &indexes, version, &outcome).await?;
    sqlx::query("UPDATE search_index_fill SET after = $2, done = done + $3 WHERE index = $1")
        .bind(&fill.index)
        .bind(last)
        .bind(pks.len() as i64)
        .execute(connection)
        .await?;
    Ok(Step::Worked(Round {
        documents: outcome.done.len() as u64,
        parked: outcome.parked.len() as u64,
        more: true,
        again: 0,
    }))
}

/// All is written: what can be found now is searched.
async fn finish(
    elastic: &Elastic,
    connection: &mut PgConnection,
    fill: &Fill,
) -> Result<(), Error> {
    let index = fill.index.clone();
    elastic.refresh(std::slice::from_ref(&index)).await?;
    let state = State::read(connection).await?;
    if state.building.as_ref() == Some(&index) {
        let next = Next {
            active: Some(index.clone()),
            building: None,
        };
        if state::change(connection, &state, next, Old::Retired).await? {
            tracing::info!(index, "the search index is complete");
            if let Err(error) = elastic.point_alias(&index).await {
                tracing::warn!(%error, "the alias of the search index does not lead to it");
            }
        }
    }
    sqlx::query("DELETE FROM search_index_fill WHERE index = $1 AND index IN (SELECT active FROM search_index)")
        .bind(&index)
        .execute(connection)
        .await?;
    Ok(())
}
