//! The search path: resolve, plan, keys, bodies, includes. [`Store::search`] reads as a straight line through the modules here.
//!
//! A search reads in one REPEATABLE READ READ ONLY transaction or one statement: its total, keys, bodies and includes show one state. What the engine
//! cannot do is refused with an issue, never ignored; what takes too long is `too-costly`.

mod bodies;
mod boundary;
mod bounds;
mod canonical;
mod conditional;
mod flat;
mod include;
mod keys;
mod keyset;
mod membership;
mod once;
mod partial;
mod plan;
mod reading;
mod resolve;
mod snapshot;
mod sql;
mod statistics;
mod total;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use conditional::{Matched, match_in};
pub use snapshot::Snapshot;
pub(crate) use statistics::StatisticsCache;

use crate::read::{StoredResource, connection_lost};
use crate::{Error, Store};
use fhir_definitions::Definitions;
use fhir_model::{DateRange, Issue, IssueKind, ResourceKey};
use fhir_search::Query;
use fhir_search::query::{DateMatch, Prefix, Summary, Total};
use flat::{Column, FlatQuery, Test};
use keyset::Keyset;
use resolve::Reach;
use sqlx::PgConnection;
use statistics::Statistics;
use std::collections::HashMap;

/// Where a page begins.
#[derive(Clone, Debug)]
pub enum Page {
    First,
    /// After the row this keyset names (opaque, made by the engine; the caller seals it).
    After(Vec<u8>),
}

/// One page of a search.
#[derive(Clone, Debug, Default)]
pub struct SearchPage {
    pub matches: Vec<StoredResource>,
    pub includes: Vec<StoredResource>,
    /// How well matches answer the words that were searched for, between 0 and 1; empty where none were.
    pub scores: HashMap<ResourceKey, f64>,
    pub total: Option<u64>,
    /// The keyset of the next page, if there is one. A page that has one may hold fewer matches than asked for, even none.
    pub next: Option<Vec<u8>>,
}

impl Store {
    /// A page of a search.
    ///
    /// # Errors
    /// [`Error::Refused`] for what the engine cannot do (`NotSupported`), what takes too long (`TooCostly`) and a page that is no longer
    /// served (`Expired`); database errors.
    pub async fn search(&self, query: &Query, at: Page) -> Result<SearchPage, Error> {
        match self.at_once(query, &at).await {
            Ok(Some(page)) => return Ok(page),
            // The transaction is begun on a connection that lives.
            Err(Error::Unavailable(error)) if connection_lost(&error) => {}
            Err(error) => return Err(too_costly(error)),
            Ok(None) => {}
        }
        let mut snapshot = self.snapshot().await?;
        let page = snapshot.search(query, at).await?;
        snapshot.close().await?;
        Ok(page)
    }

    async fn at_once(&self, query: &Query, at: &Page) -> Result<Option<SearchPage>, Error> {
        let mut connection = self.inner.search_pool.acquire().await?;
        let statistics = self.inner.statistics.get(&mut connection).await?;
        let definitions = self.definitions();
        once::at_once(&mut connection, &definitions, &statistics.1, query, at).await
    }
}

/// A page of a search in the transaction of the caller, which sees its own changes.
pub(crate) async fn search_in(
    connection: &mut PgConnection,
    definitions: &Definitions,
    statistics: &StatisticsCache,
    query: &Query,
    at: &Page,
) -> Result<SearchPage, Error> {
    let statistics = statistics.get(connection).await?;
    page(connection, definitions, &statistics.1, query, at)
        .await
        .map_err(too_costly)
}

/// A page, read on `connection`.
async fn page(
    connection: &mut PgConnection,
    definitions: &Definitions,
    statistics: &Statistics,
    query: &Query,
    at: &Page,
) -> Result<SearchPage, Error> {
    let mut flat =
        resolve::resolve(connection, definitions, statistics, query, Reach::default()).await?;
    if query.count == 0 || query.summary == Summary::Count {
        let total = total::exact(connection, &flat).await?;
        return Ok(SearchPage {
            total: Some(total),
            ..SearchPage::default()
        });
    }
    // A resource that is not there is often asked for by id; it needs no statement more.
    if matches!(at, Page::First) && flat.filter.contains(&Test::never()) {
        return Ok(SearchPage {
            total: total::of_one_page(query.total, 0),
            ..SearchPage::default()
        });
    }
    let after = match at {
        Page::First => None,
        Page::After(bytes) => Some(Keyset::from_bytes(bytes, &flat.order)?),
    };
    let horizon = horizon(connection, &flat, after.as_ref()).await?;
    if after.is_some() {
        stay_before(&mut flat, horizon);
    }
    let plan = keys::plan(connection, &flat, statistics, query.count).await?;
    let keys = keys::keys(
        connection,
        &flat,
        statistics,
        plan,
        after.as_ref(),
        query.count,
    )
    .await?;
    let total = match (&after, &keys.next) {
        (None, None) => total::of_one_page(query.total, keys.rows.len()),
        (None, Some(_)) if query.total != Total::None && keys.counted.is_some() => keys.counted,
        _ => total::of_pages(connection, &flat, statistics, query.total, after.as_ref()).await?,
    };
    let rows = bodies::rows(connection, definitions, &keys.rows).await?;
    let includes = include::included(connection, definitions, &query.includes, &rows).await?;
    let scored = rows.iter();
    let scores = scored
        .filter_map(|row| Some((row.resource.key.clone(), *flat.scores.get(&row.pk)?)))
        .collect();
    let matches = rows.into_iter().map(|row| row.resource).collect();
    let next = keys.next.map(|(pk, values)| {
        Keyset {
            values,
            pk,
            horizon,
            total,
        }
        .to_bytes()
    });
    Ok(SearchPage {
        matches,
        includes,
        scores,
        total,
        next,
    })
}

/// Up to where a search that ascends by `_lastUpdated` goes: what is updated after its first page would come again at the end.
async fn horizon(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    after: Option<&Keyset>,
) -> Result<i64, Error> {
    if let Some(keyset) = after {
        return Ok(keyset.horizon);
    }
    if !ascends(flat) {
        return Ok(i64::MAX);
    }
    Ok(
        sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            .fetch_one(connection)
            .await?,
    )
}

fn ascends(flat: &FlatQuery) -> bool {
    flat.order
        .iter()
        .any(|order| order.by == Column::Updated && !order.descending)
}

fn stay_before(flat: &mut FlatQuery, horizon: i64) {
    if horizon != i64::MAX {
        flat.filter.push(Test::Updated(vec![DateMatch {
            prefix: Prefix::Lt,
            range: DateRange {
                lo: horizon,
                hi: horizon,
            },
        }]));
    }
}

/// A statement that ran into its time limit asked for too much; that is not our fault.
pub(crate) fn too_costly(error: Error) -> Error {
    const QUERY_CANCELED: &str = "57014";
    match error {
        Error::Database(sqlx::Error::Database(error))
            if error.code().as_deref() == Some(QUERY_CANCELED) =>
        {
            Error::Refused(vec![Issue::error(
                IssueKind::TooCostly,
                "the search took longer than the limit; add a condition that fewer resources meet",
            )])
        }
        error => error,
    }
}

impl From<Issue> for Error {
    fn from(issue: Issue) -> Error {
        Error::Refused(vec![issue])
    }
}
