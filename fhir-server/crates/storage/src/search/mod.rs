//! The search path: resolve, plan, keys, bodies, includes. [`Store::search`] reads as a straight line through the modules here.
//!
//! A search reads in one REPEATABLE READ READ ONLY transaction or one statement: its total, keys, bodies and includes show one state. What the engine
//! cannot do is refused with an issue, never ignored; what takes too long is `too-costly`.

mod bodies;
mod boundary;
mod bounds;
mod canonical;
mod chain;
mod conditional;
mod contained;
mod elastic;
mod elements;
mod estimate;
mod finding;
mod flat;
mod include;
mod keys;
mod keyset;
mod lookups;
mod membership;
mod once;
mod ordering;
mod pages;
mod partial;
mod plan;
mod planning;
mod reading;
mod resolve;
mod snapshot;
mod span;
mod sql;
mod statistics;
mod total;
mod trace;
mod units;
mod values;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use conditional::{Matched, match_in};
pub(crate) use planning::Planning;
pub use snapshot::Snapshot;
pub(crate) use statistics::StatisticsCache;

use crate::elastic::AskedFor;
use crate::read::{StoredResource, connection_lost};
use crate::store::Inner;
use crate::{Error, Store};
use chain::Reach;
use elastic::{Engine, Indexed, Reason, Wanted};
use fhir_definitions::Definitions;
use fhir_model::{DateRange, Issue, IssueKind, ResourceKey};
use fhir_search::Query;
use fhir_search::query::{Contained, DateMatch, Prefix, Summary, Total};
use flat::{Column, FlatQuery, Test};
use futures_util::FutureExt;
use keys::Keys;
use keyset::Keyset;
use once::Once;
use plan::Plan;
use sqlx::PgConnection;
use statistics::Statistics;
use std::collections::HashMap;
use std::time::Duration;
use trace::Trace;

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
    /// The keysets of the page before this one, and of the last one, where there are any; [`Page::After`] takes them too.
    pub previous: Option<Vec<u8>>,
    pub last: Option<Vec<u8>>,
    /// How it was answered, a line each, where the query asks for that.
    pub explained: Vec<String>,
}

impl Store {
    /// A page of a search.
    ///
    /// # Errors
    /// [`Error::Refused`] for what the engine cannot do (`NotSupported`), what takes too long (`TooCostly`) and a page that is no longer
    /// served (`Expired`); database errors.
    pub async fn search(&self, query: &Query, at: Page) -> Result<SearchPage, Error> {
        let Some(elastic) = &self.inner.elastic else {
            return self.search_by_postgres(query, &at, None).await;
        };
        let mut by_estimate = elastic.settings.asked == AskedFor::ByEstimate;
        // What costs little is done before an index is asked for.
        if by_estimate {
            match self.in_one_statement(query, &at, Choice::Cheaper).await? {
                Once::Page(page) => return Ok(*page),
                Once::Not(None) => {}
                Once::Not(Some(reason)) => {
                    elastic.fallbacks.count(reason);
                    return self.in_snapshot(query, &at, Some(reason)).await;
                }
                // The estimate was wrong.
                Once::Short => by_estimate = false,
            }
        }
        match Indexed::open(self, elastic, query).boxed().await? {
            Err(reason) => self.search_by_postgres(query, &at, Some(reason)).await,
            Ok((mut indexed, mut snapshot)) => {
                indexed.by_estimate = by_estimate;
                let engine = Engine::Index(&indexed);
                let page = snapshot.search_by(query, &at, engine).await?;
                snapshot.close().await?;
                Ok(page)
            }
        }
    }

    async fn search_by_postgres(
        &self,
        query: &Query,
        at: &Page,
        why: Option<Reason>,
    ) -> Result<SearchPage, Error> {
        let choice = Choice::Postgres(why);
        if let Once::Page(page) = self.in_one_statement(query, at, choice).await? {
            return Ok(*page);
        }
        self.in_snapshot(query, at, why).await
    }

    async fn in_snapshot(
        &self,
        query: &Query,
        at: &Page,
        why: Option<Reason>,
    ) -> Result<SearchPage, Error> {
        let mut snapshot = self.snapshot().await?;
        let page = snapshot.search_by(query, at, Engine::Postgres(why)).await?;
        snapshot.close().await?;
        Ok(page)
    }

    /// The page, if one statement gives it, and the choice is for Postgres.
    async fn in_one_statement(
        &self,
        query: &Query,
        at: &Page,
        choice: Choice,
    ) -> Result<Once, Error> {
        let mut trace = Trace::of(query);
        if let Choice::Postgres(why) = choice {
            trace.engine(why);
        }
        let definitions = self.definitions();
        let page = once::at_once(&self.inner, &definitions, query, at, choice, &mut trace).await;
        match page.map_err(too_costly) {
            // The transaction is begun on a connection that lives.
            Err(Error::Unavailable(error)) if connection_lost(&error) => Ok(Once::Not(None)),
            Ok(once @ (Once::Not(_) | Once::Short)) => Ok(once),
            result => {
                trace.log_slow(query, self.inner.settings.slow_search_ms, &result);
                let mut once = result?;
                if let Once::Page(page) = &mut once {
                    page.explained = trace.told();
                }
                Ok(once)
            }
        }
    }
}

/// A page of a search in the transaction of the caller, which sees its own changes: so Postgres answers.
pub(crate) async fn search_in(
    connection: &mut PgConnection,
    planning: &mut Planning,
    definitions: &Definitions,
    store: &Inner,
    query: &Query,
    at: &Page,
) -> Result<SearchPage, Error> {
    let asked = Asked {
        query,
        at,
        engine: Engine::Postgres(None),
    };
    search_by(connection, planning, definitions, store, asked).await
}

/// Who answers a search that one statement can.
#[derive(Clone, Copy)]
enum Choice {
    /// With the reason, where there is an index.
    Postgres(Option<Reason>),
    /// Postgres, if that costs less than by the index.
    Cheaper,
}

/// A search, and who is to answer it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    query: &'a Query,
    at: &'a Page,
    engine: Engine<'a>,
}

async fn search_by(
    connection: &mut PgConnection,
    planning: &mut Planning,
    definitions: &Definitions,
    store: &Inner,
    asked: Asked<'_>,
) -> Result<SearchPage, Error> {
    let query = asked.query;
    let statistics = store.statistics(connection).await?;
    let mut trace = Trace::of(query);
    let budget = Duration::from_millis(store.settings.statement_timeout_ms);
    let page = page(
        connection,
        planning,
        definitions,
        &statistics.1,
        asked,
        &mut trace,
    );
    // Each statement ends with this time; all of them together do here.
    let result = match tokio::time::timeout(budget, page).await {
        Ok(page) => page.map_err(too_costly),
        Err(_) => Err(took_too_long()),
    };
    trace.log_slow(query, store.settings.slow_search_ms, &result);
    let mut page = result?;
    page.explained = trace.told();
    Ok(page)
}

/// A page, read on `connection`.
async fn page(
    connection: &mut PgConnection,
    planning: &mut Planning,
    definitions: &Definitions,
    statistics: &Statistics,
    asked: Asked<'_>,
    trace: &mut Trace,
) -> Result<SearchPage, Error> {
    let Asked { query, at, engine } = asked;
    if let Engine::Postgres(why) = engine {
        trace.engine(why);
    }
    if query.contained != Contained::False || query.filter.iter().any(resolve::looks_up) {
        planning.by_values(connection).await?;
    }
    if query.contained != Contained::False {
        return contained::page(connection, definitions, statistics, query, at).await;
    }
    let counts_only = query.count == 0 || query.summary == Summary::Count;
    let mut reach = Reach {
        paged: !counts_only,
        ..Reach::default()
    };
    if let Engine::Index(_) = engine {
        reach = elastic::reach(reach, query);
    }
    let mut flat = resolve::resolve(connection, definitions, statistics, query, reach).await?;
    trace.resolved(&flat);
    if !flat.is_lookup() || counts_only {
        planning.by_values(connection).await?;
    }
    if counts_only {
        let wanted = Wanted {
            total: query.total,
            at: None,
            limit: 0,
            offset: 0,
            count_only: true,
        };
        let by_index = by_index(connection, &flat, statistics, engine, wanted, trace);
        if let Some(found) = by_index.await? {
            return Ok(SearchPage {
                total: found.total,
                ..SearchPage::default()
            });
        }
        words::read(connection, definitions, &mut flat).await?;
        // All matches are looked for.
        let estimate = keys::estimated(connection, &flat, statistics, usize::MAX, trace).await?;
        let total = total::exact(connection, &flat, &estimate).await?;
        trace.phase("count");
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
    let at = match at {
        Page::First => None,
        Page::After(bytes) => Some(Keyset::from_bytes(bytes, &flat)?),
    };
    let horizon = horizon(connection, &flat, at.as_ref()).await?;
    if at.is_some() {
        stay_before(&mut flat, horizon);
    }
    let backwards = at.as_ref().is_some_and(|keyset| keyset.backwards);
    if backwards {
        flat.reverse();
    }
    let (limit, offset) = pages::extent(query, at.as_ref());
    let wanted = Wanted {
        total: query.total,
        at: at.as_ref(),
        limit,
        offset,
        count_only: false,
    };
    let by_index = by_index(connection, &flat, statistics, engine, wanted, trace);
    let (mut keys, total) = match by_index.await? {
        Some(found) => {
            flat.scores.extend(found.scores);
            (found.keys, found.total)
        }
        None => {
            words::read(connection, definitions, &mut flat).await?;
            by_postgres(connection, planning, &flat, statistics, wanted, trace).await?
        }
    };
    keys.found.drain(..offset.min(keys.found.len()));
    let pages = pages::around(query, at.as_ref(), &keys, horizon, total);
    if backwards {
        keys.found.reverse();
    }
    let rows = bodies::rows(connection, definitions, &keys.rows()).await?;
    trace.phase("bodies");
    if !query.includes.is_empty() {
        planning.by_values(connection).await?;
    }
    let (base, wanted) = (query.base.as_deref(), &query.includes);
    let includes = include::included(connection, definitions, base, wanted, &rows).await?;
    trace.phase("include");
    let scored = rows.iter();
    let scores = scored
        .filter_map(|row| Some((row.resource.key.clone(), *flat.scores.get(&row.pk)?)))
        .collect();
    let matches: Vec<StoredResource> = rows.into_iter().map(|row| row.resource).collect();
    trace.note(|| {
        format!(
            "rows: {} matches, {} included",
            matches.len(),
            includes.len()
        )
    });
    Ok(SearchPage {
        matches,
        includes,
        scores,
        total,
        next: pages.next,
        previous: pages.previous,
        last: pages.last,
        explained: Vec::new(),
    })
}

/// The page's rows, and the total, by the index; `None` where Postgres has to find them, or does so for less.
async fn by_index(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    statistics: &Statistics,
    engine: Engine<'_>,
    wanted: Wanted<'_>,
    trace: &mut Trace,
) -> Result<Option<elastic::Found>, Error> {
    match engine {
        Engine::Postgres(_) => Ok(None),
        Engine::Index(indexed) => {
            let found = indexed.find(connection, flat, statistics, wanted, trace);
            // A type of its own would be too deep for those who call this.
            found.boxed().await
        }
    }
}

async fn by_postgres(
    connection: &mut PgConnection,
    planning: &mut Planning,
    flat: &FlatQuery,
    statistics: &Statistics,
    wanted: Wanted<'_>,
    trace: &mut Trace,
) -> Result<(Keys, Option<u64>), Error> {
    let Wanted { at, limit, .. } = wanted;
    let estimate = keys::plan(connection, flat, statistics, limit, trace).await?;
    trace.phase("plan");
    if estimate.plan != Plan::Filter {
        planning.by_values(connection).await?;
    }
    let after = wanted.after();
    let keys = keys::keys(connection, flat, statistics, &estimate, after, limit, trace).await?;
    trace.phase("keys");
    let total = match (at, &keys.next) {
        (None, None) if wanted.offset == 0 || !keys.found.is_empty() => {
            total::of_one_page(wanted.total, keys.found.len())
        }
        (None, Some(_)) if wanted.total != Total::None && keys.counted.is_some() => keys.counted,
        _ => total::of_pages(connection, flat, statistics, &estimate, wanted.total, at).await?,
    };
    trace.phase("total");
    Ok((keys, total))
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
    now(connection).await
}

/// The database's time, in microseconds since 1970 UTC.
async fn now(connection: &mut PgConnection) -> Result<i64, Error> {
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
            took_too_long()
        }
        error => error,
    }
}

fn took_too_long() -> Error {
    Error::Refused(vec![Issue::error(
        IssueKind::TooCostly,
        "the search took longer than the limit; add a condition that fewer resources meet",
    )])
}

impl From<Issue> for Error {
    fn from(issue: Issue) -> Error {
        Error::Refused(vec![issue])
    }
}
