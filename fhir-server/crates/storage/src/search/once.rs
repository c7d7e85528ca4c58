//! Searches that one statement answers, bodies included: it is a snapshot by itself, so no transaction is opened around it, and three round
//! trips less are made. Most searches are of this kind; the others, and those of which the statement does not find enough, get the transaction.

use super::chain::Reach;
use super::elastic::choice::{CHEAPER, cheaper};
use super::elastic::{self, Reason, Wanted};
use super::flat::Test;
use super::keys::Keys;
use super::keyset::Keyset;
use super::plan::Plan;
use super::resolve;
use super::trace::Trace;
use super::{Choice, Page, SearchPage, ascends, bodies, keys, pages, sql, total};
use crate::Error;
use crate::read::StoredResource;
use crate::store::Inner;
use fhir_definitions::Definitions;
use fhir_search::Query;
use fhir_search::query::{Contained, Summary, Total};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;

/// Sort keys and row key, the number of all matches where it was counted, and the resource.
type Row = (
    i64,
    Vec<Option<String>>,
    Option<i64>,
    Option<i16>,
    Option<String>,
    Option<i32>,
    Option<i64>,
    Option<String>,
);

type Connection = PoolConnection<Postgres>;

/// Another one, by which each statement is planned for its values. The one there is, is given back before: look-ups do not wait for searches.
async fn for_search(store: &Inner, lookup: Connection) -> Result<Connection, sqlx::Error> {
    drop(lookup);
    store.search_pool.acquire().await
}

/// What one statement gives.
pub(super) enum Once {
    Page(Box<SearchPage>),
    /// It takes several; with the reason where they are Postgres's to make.
    Not(Option<Reason>),
    /// Less than a page, where one was thought to be found soon.
    Short,
}

/// The page, if one statement gives it.
pub(super) async fn at_once(
    store: &Inner,
    definitions: &Definitions,
    query: &Query,
    at: &Page,
    choice: Choice,
    trace: &mut Trace,
) -> Result<Once, Error> {
    if !query.includes.is_empty()
        || query.contained != Contained::False
        || query.count == 0
        || query.offset > 0
        || query.results_max.is_some()
        || query.summary == Summary::Count
        || query.filter.iter().any(resolve::looks_up)
    {
        return Ok(Once::Not(None));
    }
    let reach = Reach {
        paged: true,
        ..Reach::default()
    };
    let mut connection = store.lookup_pool.acquire().await?;
    let statistics = store.statistics(&mut connection).await?;
    let statistics = &statistics.1;
    let flat = resolve::resolve(&mut connection, definitions, statistics, query, reach).await?;
    // The row of a resource stays its row, so that it does not matter when it was looked up; one that is missing may be there by now.
    if ascends(&flat) || !flat.names_all || flat.filter.contains(&Test::never()) {
        return Ok(Once::Not(None));
    }
    let after = match at {
        Page::First => None,
        Page::After(bytes) => Some(Keyset::from_bytes(bytes, &flat)?),
    };
    if after
        .as_ref()
        .is_some_and(|keyset| keyset.backwards || keyset.values.is_empty())
    {
        return Ok(Once::Not(None));
    }
    trace.resolved(&flat);
    if flat.sorts_by_looking() {
        connection = for_search(store, connection).await?;
    }
    // Known before anything is counted.
    let unable = match choice {
        Choice::Postgres(_) => None,
        Choice::Cheaper => elastic::unable(&flat, false),
    };
    let estimate = match (choice, unable) {
        (Choice::Postgres(_), _) | (_, Some(_)) => {
            trace.engine(unable);
            keys::plan(&mut connection, &flat, statistics, query.count, trace).await?
        }
        (Choice::Cheaper, None) => {
            let wanted = Wanted {
                total: query.total,
                at: after.as_ref(),
                limit: query.count,
                offset: 0,
                count_only: false,
            };
            let cheaper = cheaper(&mut connection, &flat, statistics, wanted, trace).await?;
            let Some(estimate) = cheaper else {
                return Ok(Once::Not(None));
            };
            trace.engine(Some(CHEAPER));
            estimate
        }
    };
    trace.phase("plan");
    let plan = estimate.plan;
    // A walk is bounded, and there is one way to take it; what all matches are found by depends on the values.
    if plan == Plan::Filter && !flat.is_lookup() && !flat.sorts_by_looking() {
        connection = for_search(store, connection).await?;
    }
    if let Plan::Walk { .. } = plan {
        let passed_values = after.as_ref().is_some_and(Keyset::without_value);
        let counts = after.is_none() && total::counts(&flat, &estimate, query.total);
        if passed_values || counts {
            return Ok(Once::Not(unable));
        }
    }
    let mut selection = keys::selection(&flat, statistics, &estimate, query.count);
    selection.after = after.as_ref();
    let mut statement = sql::with_bodies(selection, plan);
    trace.statement(&statement);
    let rows: Vec<Row> = statement
        .build_query_as()
        .fetch_all(&mut *connection)
        .await?;
    trace.phase("keys and bodies");
    let more = rows.len() > query.count;
    if !more && matches!(plan, Plan::Walk { .. }) {
        return Ok(match unable {
            None => Once::Short,
            reason => Once::Not(reason),
        });
    }
    let counted = rows.first().and_then(|row| row.2).map(i64::unsigned_abs);
    let total = match (&after, query.total) {
        (_, Total::None) => None,
        (Some(keyset), _) => keyset.total,
        (None, _) if more => counted,
        (None, _) => Some(rows.len() as u64),
    };
    let mut places = Vec::with_capacity(query.count.min(rows.len()));
    let mut matches: Vec<StoredResource> = Vec::with_capacity(query.count.min(rows.len()));
    for row in rows.into_iter().take(query.count) {
        let (pk, values, _, number, id, version, last_updated_ms, content) = row;
        places.push((pk, values));
        let resource = number
            .zip(id)
            .zip(version)
            .zip(last_updated_ms)
            .zip(content);
        if let Some(((((number, id), version), last_updated_ms), content)) = resource {
            let stored = (number, id, version, last_updated_ms, content);
            matches.extend(bodies::stored(definitions, stored));
        }
    }
    let keys = Keys {
        next: places.last().filter(|_| more).cloned(),
        found: places,
        counted,
    };
    let pages = pages::around(query, after.as_ref(), &keys, i64::MAX, total);
    trace.note(|| format!("rows: {} matches", matches.len()));
    if let (Choice::Cheaper, Some(elastic)) = (choice, &store.elastic) {
        elastic.fallbacks.count(unable.unwrap_or(CHEAPER));
    }
    Ok(Once::Page(Box::new(SearchPage {
        matches,
        total,
        next: pages.next,
        previous: pages.previous,
        last: pages.last,
        ..SearchPage::default()
    })))
}
