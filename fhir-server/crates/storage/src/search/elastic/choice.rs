//! Which searches are cheaper in Postgres than by the index: what leads to few rows, or walks an index to a page. Where many conditions meet on many rows,
//! all of many are counted, or many rows are joined for more than a page, the index is asked.
//!
//! Decided by the costs of [`crate::search::plan`]; where those would be a guess, what lies in ordered indexes is counted, up to a limit.

use super::{Reason, Wanted, joins};
use crate::Error;
use crate::search::estimate::{Counted, Estimates};
use crate::search::flat::{FlatQuery, Test};
use crate::search::keys;
use crate::search::plan::{self, Estimate, Plan};
use crate::search::statistics::Statistics;
use crate::search::trace::Trace;
use fhir_search::query::Total;
use sqlx::PgConnection;

/// Why Postgres answers what the index could.
pub(in crate::search) const CHEAPER: Reason = "cheaper in Postgres";

/// What a search by the index takes, in milliseconds of processor time: two requests, which cost the cluster 2 to 15, the look for pending rows, and
/// confirming a page (docs/benchmarks.md).
const INDEX_MS: f64 = 8.0;
/// The same where it has to find rows of another side first: tens to hundreds, as these are many.
const JOINED_MS: f64 = 25.0;
/// A walk that is thought to find its page within this is worth trying, whatever that is guessed from.
const TRIED_MS: f64 = 1.0;
/// What it takes to read the text of a resource, in milliseconds.
const READ_MS: f64 = 0.05;
/// Rows that are counted of each test in an ordered index: about a millisecond.
const COUNTED_MAX: i64 = 5_000;

/// How Postgres answers, where that costs less than the index does.
///
/// # Errors
/// Database errors.
pub(in crate::search) async fn cheaper(
    connection: &mut PgConnection,
    flat: &FlatQuery,
    statistics: &Statistics,
    wanted: Wanted<'_>,
    trace: &mut Trace,
) -> Result<Option<Estimate>, Error> {
    if flat.has_words() {
        return Ok(read_soon(flat, statistics, wanted));
    }
    let mut estimate = plan::plan(flat, statistics, &Counted::default(), wanted.limit);
    let is_ordered = flat.filter.iter().any(Test::is_ordered);
    if is_ordered && !(is_told(&estimate) && cost(&estimate, wanted) <= INDEX_MS) {
        let counted = keys::counted(connection, flat, COUNTED_MAX, statistics, trace).await?;
        estimate = plan::plan(flat, statistics, &counted, wanted.limit);
    }
    let cost = cost(&estimate, wanted);
    trace.note(|| format!("in Postgres: {:?}, estimated {cost:.2} ms", estimate.plan));
    let joins = flat.filter.iter().any(joins::joins);
    let most = match (joins, estimate.plan) {
        (false, _) => INDEX_MS,
        // It ends with its window.
        (true, Plan::Walk { .. }) => JOINED_MS,
        // Each of a few rows is asked for others.
        (true, Plan::Filter) if estimate.finding.known => INDEX_MS,
        // How many rows are joined, nobody knows.
        (true, Plan::Filter) => return Ok(None),
    };
    Ok((cost <= most).then_some(estimate))
}

/// How the resources are found that Postgres would read, where the other conditions are known to leave few of them.
fn read_soon(flat: &FlatQuery, statistics: &Statistics, wanted: Wanted<'_>) -> Option<Estimate> {
    let filter = flat.filter.iter().filter(|test| !test.has_words());
    let others = FlatQuery {
        filter: filter.cloned().collect(),
        ..flat.clone()
    };
    let counted = Counted::default();
    let known = Estimates::of(&others.filter, &flat.types, statistics, &counted);
    let rows = known.known(&others.filter)?;
    (rows * READ_MS <= INDEX_MS).then(|| plan::plan(&others, statistics, &counted, wanted.limit))
}

/// Whether more than a guess is behind it.
fn is_told(estimate: &Estimate) -> bool {
    match estimate.plan {
        Plan::Filter => estimate.finding.known,
        Plan::Walk { .. } => estimate.ms <= TRIED_MS,
    }
}

fn cost(estimate: &Estimate, wanted: Wanted<'_>) -> f64 {
    let all = estimate.finding.ms;
    if wanted.count_only {
        return all;
    }
    let counts = wanted.at.is_none() && wanted.total == Total::Accurate;
    match estimate.plan {
        Plan::Walk { .. } if counts => estimate.ms + all,
        _ => estimate.ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::finding::tests::{number, strings};
    use crate::search::flat::{Column, Order};
    use crate::testing;
    use fhir_search::Query;
    use fhir_search::query::TextOf;
    use fhir_search::text::TextQuery;

    const ALL: i64 = 1;
    const HALF: i64 = 2;
    const RARE: i64 = 99;

    /// A million resources, half of them observations; the ordered indexes are empty.
    #[tokio::test]
    async fn chooses() {
        let tokens = [(ALL, 500_000.0), (HALF, 250_000.0)];
        let statistics = Statistics::known(1_000_000.0, &tokens, &[(7, 500_000.0)]);
        let store = testing::store().await;
        let mut connection = store.inner.search_pool.acquire().await.unwrap();
        let has = |token| Test::Tokens(vec![token]);
        let words = || Test::Words(TextOf::Content, TextQuery::parse("a").unwrap());
        let pointed_at = || Test::PointedAt(3, Box::new(has(ALL)));
        let updated = Column::Updated;
        let by_number = Column::Number { key: 5 };
        let page = Wanted {
            total: Total::Default,
            at: None,
            limit: 20,
            offset: 0,
            count_only: false,
        };
        let exact = Wanted {
            total: Total::Accurate,
            ..page
        };
        let count = Wanted {
            count_only: true,
            ..page
        };
        let mut trace = Trace::of(&Query::all(Vec::new(), 20));
        for (name, filter, by, wanted, expect) in [
            ("an identifier", vec![has(RARE)], updated, page, true),
            (
                "an identifier, counted",
                vec![has(RARE)],
                updated,
                count,
                true,
            ),
            (
                "an identifier, exactly",
                vec![has(RARE)],
                updated,
                exact,
                true,
            ),
            ("a type", vec![], updated, page, true),
            ("a type, counted", vec![], updated, count, false),
            ("a type, exactly", vec![], updated, exact, false),
            ("half of a type", vec![has(HALF)], updated, page, true),
            (
                "half of a type, exactly",
                vec![has(HALF)],
                updated,
                exact,
                false,
            ),
            (
                "half of a type, by numbers",
                vec![has(HALF)],
                by_number,
                page,
                false,
            ),
            (
                "a name that nobody has",
                vec![strings()],
                by_number,
                page,
                true,
            ),
            (
                "few of many",
                vec![has(RARE), number(), has(ALL)],
                by_number,
                page,
                true,
            ),
            (
                "words of few",
                vec![has(RARE), words()],
                updated,
                page,
                true,
            ),
            (
                "words of many",
                vec![has(HALF), words()],
                updated,
                page,
                false,
            ),
            ("words of a type", vec![words()], updated, page, false),
            (
                "few joined rows",
                vec![has(RARE), pointed_at()],
                by_number,
                page,
                true,
            ),
            (
                "a page of joined rows",
                vec![pointed_at()],
                updated,
                page,
                true,
            ),
            (
                "joined rows, counted",
                vec![pointed_at()],
                updated,
                count,
                false,
            ),
            (
                "joined rows, exactly",
                vec![pointed_at()],
                updated,
                exact,
                false,
            ),
            (
                "joined rows, by numbers",
                vec![pointed_at()],
                by_number,
                page,
                false,
            ),
        ] {
            let flat = FlatQuery {
                types: vec![7],
                filter,
                order: vec![Order::new(by, true)],
                ..FlatQuery::default()
            };
            let chosen = cheaper(&mut connection, &flat, &statistics, wanted, &mut trace).await;
            assert_eq!(chosen.unwrap().is_some(), expect, "{name}");
        }
    }
}
