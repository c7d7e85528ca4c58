//! Which index is searched and which is being made, as Postgres knows it, and looking whether the cluster has them.
//!
//! Postgres decides: a search uses the index that the row names, and an outbox row goes only where the row still is as it was when the documents
//! were written. So an index that has come up in the meantime has missed nothing.

use super::client::ElasticError;
use super::cluster::Presence;
use super::mapping::LAYOUT;
use super::{Elastic, indexer};
use crate::error::Error;
use crate::maintenance::empty_outbox;
use crate::store::Store;
use sqlx::{Connection, PgConnection};

/// An index that nobody needs is deleted after so long: a search that began before may still read it.
const RETIRED_SECONDS: f64 = 60.0;
/// An index that no server has served for so long is given up, and the outbox emptied.
const UNSERVED_SECONDS: f64 = 86_400.0;

/// The row.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct State {
    pub generation: String,
    pub epoch: i64,
    pub layout: i32,
    pub active: Option<String>,
    pub building: Option<String>,
}

impl State {
    pub(super) async fn read(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
        sqlx::query_as("SELECT generation, epoch, layout, active, building FROM search_index")
            .fetch_one(connection)
            .await
    }

    /// The indexes that are written; none where they are of another version of the program.
    pub(super) fn indexes(&self) -> Vec<String> {
        match self.layout == LAYOUT {
            true => [&self.active, &self.building]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            false => Vec::new(),
        }
    }
}

/// What was found when the index was looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// As it should be.
    Well,
    /// There was none of this layout: one is being made.
    Begun,
    /// The cluster had lost it, or an older state of it: another one is being made.
    Lost,
    /// The database is older than the index: it was put back, or is a copy. Another one is being made.
    Ahead,
    /// A later version of this program keeps it: this one does not use it.
    Later,
}

/// How the index is used, for metrics and health.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexUse {
    /// An index is complete and of this layout.
    pub searchable: bool,
    /// Resources that are in an index that is being made, or a type that is sent again, and of about how many.
    pub filling: Option<(u64, u64)>,
    /// Outbox rows that wait, at most, and for how long the first of them has.
    pub waiting: u64,
    pub waiting_seconds: f64,
    /// Resources that the index does not take.
    pub parked: u64,
    /// Why the cluster does not do what it is asked, in a word.
    pub trouble: Option<&'static str>,
    /// Searches that it answered, and those that it did not, by reason.
    pub answered: u64,
    pub fallbacks: Vec<(&'static str, u64)>,
}

impl Store {
    /// Whether there is a search index beside Postgres.
    pub fn has_index(&self) -> bool {
        self.inner.elastic.is_some()
    }

    /// How it is used; `None` where there is none.
    ///
    /// # Errors
    /// Database errors.
    pub async fn index_use(&self) -> Result<Option<IndexUse>, Error> {
        let Some(elastic) = &self.inner.elastic else {
            return Ok(None);
        };
        let mut connection = elastic.pool.acquire().await?;
        let state = State::read(&mut connection).await?;
        let filling: Option<(i64, i64)> =
            sqlx::query_as("SELECT done, total FROM search_index_fill ORDER BY begun LIMIT 1")
                .fetch_optional(&mut *connection)
                .await?;
        let parked: i64 =
            sqlx::query_scalar("SELECT count(*) FROM search_index_parked WHERE index = $1")
                .bind(&state.active)
                .fetch_one(&mut *connection)
                .await?;
        let behind = elastic.low.behind();
        let resting = elastic.client.is_resting().then_some("resting");
        Ok(Some(IndexUse {
            searchable: state.layout == LAYOUT && state.active.is_some(),
            filling: filling.map(|(done, total)| (done.unsigned_abs(), total.unsigned_abs())),
            waiting: behind.rows,
            waiting_seconds: behind.seconds,
            parked: parked.unsigned_abs(),
            trouble: elastic.trouble().or(resting),
            answered: elastic.answered.get(),
            fallbacks: elastic.fallbacks.get(),
        }))
    }

    /// Looks after the index: whether the cluster has it, makes another one where it has not, deletes what nobody needs any more.
    ///
    /// # Errors
    /// [`Error::Index`] where the cluster does not answer or refuses; database errors. Nothing is lost by trying again later.
    pub async fn index_check(&self) -> Result<Checked, Error> {
        let elastic = indexer::elastic(self)?;
        let checked = self.look_after(elastic).await;
        elastic.note(&checked);
        checked
    }

    async fn look_after(&self, elastic: &Elastic) -> Result<Checked, Error> {
        let mut connection = elastic.pool.acquire().await?;
        sqlx::query("UPDATE search_index SET served = now()")
            .execute(&mut *connection)
            .await?;
        let mut state = State::read(&mut connection).await?;
        if state.layout > LAYOUT {
            return Ok(Checked::Later);
        }
        let is_behind = elastic.low.behind().rows > elastic.settings.backlog_max;
        if is_behind && !state.indexes().is_empty() {
            tracing::warn!("the search index is too far behind: it is given up, and made anew");
            let none = Next {
                active: None,
                building: None,
            };
            change(&mut connection, &state, none, Old::Retired).await?;
            // What waits is in the next index by itself.
            empty_outbox(&mut connection, i64::MAX).await?;
            state = State::read(&mut connection).await?;
        }
        let checked = self.look(elastic, &mut connection, &state).await?;
        delete_retired(elastic, &mut connection).await?;
        Ok(checked)
    }

    async fn look(
        &self,
        elastic: &Elastic,
        connection: &mut PgConnection,
        state: &State,
    ) -> Result<Checked, Error> {
        if state.indexes().is_empty() {
            begin(elastic, connection, state, None, Old::Retired).await?;
            return Ok(Checked::Begun);
        }
        let mut lost = Vec::new();
        for index in state.indexes() {
            match inspect(elastic, connection, &index, &state.generation).await? {
                Inspected::Well => {}
                Inspected::Lost => lost.push(index),
                Inspected::Ahead => {
                    // What is there is of the database that this one is a copy of.
                    tracing::warn!(
                        index,
                        "the search index is ahead of the database: it is left alone, and another one is made"
                    );
                    begin(elastic, connection, state, None, Old::Left).await?;
                    return Ok(Checked::Ahead);
                }
            }
        }
        if !lost.is_empty() {
            tracing::warn!(
                ?lost,
                "the search index is not what was written: it is made anew"
            );
            let active = state.active.clone().filter(|active| !lost.contains(active));
            begin(elastic, connection, state, active, Old::Retired).await?;
            return Ok(Checked::Lost);
        }
        for index in state.indexes() {
            elastic.keep_one_copy(&index).await?;
        }
        if let Some(active) = &state.active
            && let Err(error) = elastic.point_alias(active).await
        {
            tracing::warn!(%error, "the alias of the search index does not lead to it");
        }
        Ok(Checked::Well)
    }
}

enum Inspected {
    Well,
    Lost,
    Ahead,
}

/// The mark in the index lies between what Postgres knows to be written, asked before, and what it has given, asked after.
async fn inspect(
    elastic: &Elastic,
    connection: &mut PgConnection,
    index: &str,
    generation: &str,
) -> Result<Inspected, Error> {
    let written: Option<i64> =
        sqlx::query_scalar("SELECT version FROM search_index_mark WHERE index = $1")
            .bind(index)
            .fetch_optional(&mut *connection)
            .await?;
    let mark = match elastic.presence(index, generation).await? {
        Presence::There { mark } => mark,
        Presence::Missing | Presence::Foreign => return Ok(Inspected::Lost),
    };
    let given: i64 = sqlx::query_scalar("SELECT last_value FROM search_index_version")
        .fetch_one(connection)
        .await?;
    Ok(match (mark < written.unwrap_or_default(), mark > given) {
        (true, _) => Inspected::Lost,
        (_, true) => Inspected::Ahead,
        _ => Inspected::Well,
    })
}

/// What becomes of the indexes that are not named any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    Retired,
    /// They are another database's. The generation changes, too.
    Left,
}

/// The indexes from now on.
#[derive(Clone, Debug)]
pub(super) struct Next {
    pub active: Option<String>,
    pub building: Option<String>,
}

/// Makes an index that is filled from now on, in the place of any that is being made; `active` is searched meanwhile. False: somebody else
/// changed something.
pub(super) async fn begin(
    elastic: &Elastic,
    connection: &mut PgConnection,
    state: &State,
    active: Option<String>,
    old: Old,
) -> Result<bool, Error> {
    let generation = match old {
        Old::Retired => state.generation.clone(),
        Old::Left => uuid::Uuid::new_v4().simple().to_string(),
    };
    let index = elastic.create(&generation).await?;
    let next = Next {
        active,
        building: Some(index.clone()),
    };
    let state_then = State {
        generation,
        ..state.clone()
    };
    let done = change(connection, &state_then, next, old).await?;
    if done {
        tracing::info!(index, "a search index is being made");
    } else {
        elastic.delete(&index).await?;
    }
    Ok(done)
}

/// Changes the row, unless it is another one than `state` by now. What is then being built is filled from its beginning. Whoever is filling
/// what is not named any more finds that out by himself: nobody waits for him here.
pub(super) async fn change(
    connection: &mut PgConnection,
    state: &State,
    next: Next,
    old: Old,
) -> Result<bool, Error> {
    let mut transaction = connection.begin().await?;
    let named: Option<(Option<String>, Option<String>)> =
        sqlx::query_as("SELECT active, building FROM search_index WHERE epoch = $1 FOR UPDATE")
            .bind(state.epoch)
            .fetch_optional(&mut *transaction)
            .await?;
    let Some((active, building)) = named else {
        return Ok(false);
    };
    let kept = [next.active.as_ref(), next.building.as_ref()];
    let dropped: Vec<String> = [active, building]
        .into_iter()
        .flatten()
        .filter(|index| !kept.contains(&Some(index)))
        .collect();
    if old == Old::Retired {
        sqlx::query("INSERT INTO search_index_retired (index) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING")
            .bind(&dropped)
            .execute(&mut *transaction)
            .await?;
    }
    for forget in [
        "DELETE FROM search_index_mark WHERE index = ANY ($1)",
        "DELETE FROM search_index_parked WHERE index = ANY ($1)",
    ] {
        sqlx::query(forget)
            .bind(&dropped)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("UPDATE search_index SET epoch = epoch + 1, generation = $1, layout = $2, active = $3, building = $4")
        .bind(&state.generation)
        .bind(LAYOUT)
        .bind(&next.active)
        .bind(&next.building)
        .execute(&mut *transaction)
        .await?;
    if let Some(building) = &next.building {
        sqlx::query(
            "INSERT INTO search_index_fill (index, total) SELECT $1, count(*) FROM entry ON CONFLICT DO NOTHING",
        )
        .bind(building)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Deletes what was retired a while ago. Only what bears the name of this site: a copy of the database, with another name, deletes nothing here.
async fn delete_retired(elastic: &Elastic, connection: &mut PgConnection) -> Result<(), Error> {
    let retired: Vec<String> = sqlx::query_scalar(
        "SELECT index FROM search_index_retired WHERE since < now() - make_interval(secs => $1)",
    )
    .bind(RETIRED_SECONDS)
    .fetch_all(&mut *connection)
    .await?;
    let prefix = format!("{}-", elastic.settings.index);
    for index in retired.iter().filter(|index| index.starts_with(&prefix)) {
        elastic.delete(index).await?;
        sqlx::query("DELETE FROM search_index_retired WHERE index = $1")
            .bind(index)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Gives up an index that no server serves any more, so that its outbox can be emptied. Whether none is kept now.
pub(crate) async fn give_up_unserved(connection: &mut PgConnection) -> Result<bool, Error> {
    let state = State::read(&mut *connection).await?;
    if state.active.is_none() && state.building.is_none() {
        return Ok(true);
    }
    let is_served: bool = sqlx::query_scalar(
        "SELECT coalesce(served > now() - make_interval(secs => $1), false) FROM search_index",
    )
    .bind(UNSERVED_SECONDS)
    .fetch_one(&mut *connection)
    .await?;
    if is_served {
        return Ok(false);
    }
    tracing::warn!("no server has served the search index for a day: it is given up");
    let none = Next {
        active: None,
        building: None,
    };
    change(connection, &state, none, Old::Retired).await
}

/// As after a restore: no index is of this database.
pub(crate) async fn forget(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('search_index') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(());
    }
    sqlx::raw_sql(
        "UPDATE search_index SET epoch = epoch + 1, generation = replace(gen_random_uuid()::text, '-', ''), active = NULL, building = NULL; \
         DELETE FROM search_index_fill; DELETE FROM search_index_mark; DELETE FROM search_index_parked; DELETE FROM search_index_retired",
    )
    .execute(connection)
    .await
    .map(drop)
}

impl From<ElasticError> for Error {
    fn from(error: ElasticError) -> Error {
        Error::Index(error)
    }
}
