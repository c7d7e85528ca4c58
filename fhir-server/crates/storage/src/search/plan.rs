//! Walk the sort index, or find all matches and then sort: decided from statistics and from what was counted, with the costs that were measured
//! (docs/adr/0014-search-plans.md). Pure.
//!
//! A wrong guess is bounded on all sides: a walk ends with its window, and what it did not find the filter then does; whatever a filter begins
//! with, it reads that once and looks at each row once.

use super::bounds::{self, Bounds, OfOrder};
use super::estimate::{Counted, Estimates};
use super::finding::{self, Finding, LOOKUP_MS, test_ms};
use super::flat::{Column, FlatQuery, Test};
use super::sql::walkable;
use super::statistics::Statistics;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Look at so many entries in sort order.
    Walk { window: i64 },
    /// Find all matches, then sort.
    Filter,
}

/// A plan and what it is thought to cost, in milliseconds of CPU.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Estimate {
    pub plan: Plan,
    pub ms: f64,
    /// How all matches are found, if they are.
    pub finding: Finding,
    /// The tests, by their place in the filter, of which a walk reads all rows once, so that it need not ask for each row.
    pub known: Vec<usize>,
}

/// Entries that one walk looks at.
pub(super) const WINDOW_MIN: i64 = 1_000;
pub(super) const WINDOW_MAX: i64 = 40_000;
/// The same where a test looks into the entry's references, and where it asks the index.
const WINDOW_MAX_REFERENCES: i64 = 15_000;
const WINDOW_MAX_LOOKUPS: i64 = 1_000;
/// More rows than this are not asked for one by one in the index.
pub(super) const LOOKUPS_MAX: f64 = 1_000.0;
/// More matches than this are not collected to be sorted when their order can be walked.
pub(super) const FILTER_MAX: f64 = 300_000.0;

/// So few matches are always collected: that costs little, while a walk that finds none of them looks at its whole window in vain. A type that
/// is new since the last ANALYZE, and every type before the first, counts as few.
const FEW: f64 = 100.0;
/// Entries that a walk tests per millisecond of CPU.
const WALKED_PER_MS: f64 = 2_200.0;
/// Counting what lies in ordered indexes is not worth it for less: where all are found, and where a walk may end before.
const COUNT_MS: f64 = 1.0;
const COUNT_MS_WALK: f64 = 3.0;
/// Rows of each that are counted, for each millisecond that it may save.
const COUNTED_PER_MS: f64 = 300.0;
/// The same at the least: where there is a walk that need not know, and where there is none. And at the most.
const COUNT_MIN_WALKABLE: i64 = 4_000;
const COUNT_MIN: i64 = 5_000;
const COUNT_MAX: i64 = 20_000;
/// The part of a walk that has to pass everything before the range, where that cannot be left out.
const BEFORE_RANGE: f64 = 0.01;
/// Rows of a test that a walk reads once and keeps in a hash, per millisecond of CPU.
const KNOWN_PER_MS: f64 = 3_500.0;
/// Hits are not spread evenly: how much longer a walk may take than the average says.
pub(super) const UNEVEN: f64 = 3.0;

/// How to answer `query` for a page of `limit` matches. `counted` has what was counted before.
pub(super) fn plan(
    query: &FlatQuery,
    statistics: &Statistics,
    counted: &Counted,
    limit: usize,
) -> Estimate {
    let estimates = Estimates::of(&query.filter, &query.types, statistics, counted);
    let finding = finding::cheapest(&query.filter, &estimates);
    let filter = Estimate {
        plan: Plan::Filter,
        ms: finding.ms + sorted_ms(query, &estimates, &finding),
        finding: finding.clone(),
        known: Vec::new(),
    };
    if !walkable(&query.types, &query.order) {
        return filter;
    }
    let walked = walked(query, &estimates, limit);
    let window_max = window_max(&query.filter);
    let window = ((4.0 * walked) as i64).clamp(WINDOW_MIN.min(window_max), window_max);
    let known = known(query, &estimates, walked);
    let read: f64 = known.iter().map(|at| estimates.rows[*at]).sum();
    let walk = Estimate {
        plan: Plan::Walk { window },
        ms: UNEVEN * walked * step_ms(query, &estimates, &known) + read / KNOWN_PER_MS,
        finding,
        known,
    };
    if !query.filter.iter().any(Test::positive) {
        return walk;
    }
    match estimates.known(&query.filter) {
        Some(rows) if rows <= FEW || !estimates.know_types => filter,
        // Without statistics a walk is worth trying where it begins within its range.
        None if !estimates.know_types => {
            match bounds::of_order(&query.filter, &query.order).is_some() {
                true => walk,
                false => filter,
            }
        }
        _ if filter.ms <= walk.ms => filter,
        _ => walk,
    }
}

/// What it costs to look up by what all matches are sorted.
fn sorted_ms(query: &FlatQuery, estimates: &Estimates, finding: &Finding) -> f64 {
    let is_at_hand = |by: Column| by == Column::Updated && finding.lead.is_empty();
    let keys = query.order.iter().filter(|order| !is_at_hand(order.by));
    let matches = estimates.all * estimates.selectivity(|_| true);
    matches * keys.count() as f64 * LOOKUP_MS
}

/// Entries that a walk looks at until it has a page, on the average.
fn walked(query: &FlatQuery, estimates: &Estimates, limit: usize) -> f64 {
    let Some(OfOrder { at, dates, bounds }) = bounds::of_order(&query.filter, &query.order) else {
        return limit as f64 / estimates.selectivity(|_| true);
    };
    // Within its range the date tells nothing.
    let mut selectivity = estimates.selectivity(|other| other != at);
    let begins = |bounds: Bounds| match query.order[0].falls() {
        true => bounds.hi < i64::MAX,
        false => bounds.lo > i64::MIN,
    };
    if !begins(bounds) && dates.most().is_some_and(begins) {
        selectivity *= BEFORE_RANGE;
    }
    limit as f64 / selectivity
}

/// The ordered tests whose rows are worth reading for a walk that looks at `walked` entries: where it is known how many there are. By now there
/// may be more, as many as were written in the minute for which counts are remembered.
fn known(query: &FlatQuery, estimates: &Estimates, walked: f64) -> Vec<usize> {
    let filter = &query.filter;
    let own = bounds::of_order(filter, &query.order).map(|own| own.at);
    let asked_ms = walked * estimates.selectivity(|at| test_ms(&filter[at]) == 0.0) * LOOKUP_MS;
    let is_worth = |at: &usize| {
        let rows = estimates.counted(*at).filter(|_| own != Some(*at));
        rows.is_some_and(|rows| rows / KNOWN_PER_MS < asked_ms)
    };
    (0..filter.len()).filter(is_worth).collect()
}

/// What a walk costs for each row it looks at: few get as far as the tests that take look-ups.
fn step_ms(query: &FlatQuery, estimates: &Estimates, known: &[usize]) -> f64 {
    let filter = &query.filter;
    let own = bounds::of_order(filter, &query.order).map(|own| own.at);
    let dear = (0..filter.len())
        .filter(|at| own != Some(*at) && !known.contains(at))
        .map(|at| test_ms(&filter[at]))
        .sum::<f64>();
    let reach = estimates.selectivity(|at| test_ms(&filter[at]) == 0.0);
    let by_entry = query.order.iter().any(|order| order.by == Column::Updated);
    let entry = match by_entry || filter.iter().all(Test::asks_for_key_only) {
        true => 0.0,
        false => LOOKUP_MS,
    };
    1.0 / WALKED_PER_MS + entry + reach * dear
}

/// How many rows of each ordered test are worth counting before the estimate is trusted.
pub(super) fn count_max(query: &FlatQuery, estimate: &Estimate) -> Option<i64> {
    let least = match walkable(&query.types, &query.order) {
        true => COUNT_MIN_WALKABLE,
        false => COUNT_MIN,
    };
    let dear = match estimate.plan {
        Plan::Walk { .. } => COUNT_MS_WALK,
        Plan::Filter => COUNT_MS,
    };
    let worth = (estimate.ms * COUNTED_PER_MS) as i64;
    (estimate.ms >= dear).then(|| worth.clamp(least, COUNT_MAX))
}

/// Entries that one walk with this filter may look at.
pub(super) fn window_max(filter: &[Test]) -> i64 {
    filter.iter().map(window_max_of).min().unwrap_or(WINDOW_MAX)
}

fn window_max_of(test: &Test) -> i64 {
    match test {
        Test::PointedAt(..) => WINDOW_MAX_LOOKUPS,
        Test::Points(..) | Test::AnyOfReferences(_) => WINDOW_MAX_REFERENCES,
        Test::Any(tests) | Test::All(tests) => window_max(tests),
        Test::Not(test) => window_max_of(test),
        _ => WINDOW_MAX,
    }
}

/// Whether testing it on one row takes look-ups of its own.
pub(super) fn dear(test: &Test) -> bool {
    window_max_of(test) < WINDOW_MAX
}

#[cfg(test)]
mod tests {
    use super::super::estimate::Count;
    use super::super::finding::tests::{date, number, strings};
    use super::super::flat::Order;
    use super::*;
    use fhir_search::query::Prefix;

    const ALL: i64 = 1;
    const HALF: i64 = 2;
    const OLD: i64 = 3;
    const RARE: i64 = 99;

    /// A million resources, half of them observations.
    fn statistics() -> Statistics {
        let tokens = [(ALL, 500_000.0), (HALF, 250_000.0), (OLD, 5_000.0)];
        Statistics::known(1_000_000.0, &tokens, &[(7, 500_000.0)])
    }

    fn has(token: i64) -> Test {
        Test::Tokens(vec![token])
    }

    #[test]
    fn knows_before_it_walks() {
        let by_date =
            |descending| vec![Order::new(Column::Date { key: 1, present: 0 }, descending)];
        let between = |filter: Vec<Test>| FlatQuery {
            types: vec![7],
            filter,
            order: by_date(false),
            ..FlatQuery::default()
        };
        let of_20 = |filter, rows, all| {
            let query = between(filter);
            let counted = Counted(vec![Some(Count { rows, all })]);
            plan(&query, &statistics(), &counted, 20)
        };
        let none = Vec::<usize>::new();
        for (name, test, rows, all, expect) in [
            // They are read in two milliseconds, while the walk looks at 2,500 others.
            ("one in a hundred", strings(), 4_000, true, vec![0]),
            // They may be many more.
            ("at least so many", strings(), 4_000, false, none.clone()),
            // The walk ends before 50,000 are read.
            ("one in ten", number(), 50_000, true, none),
        ] {
            let found = of_20(vec![test], rows, all);
            assert_eq!(found.known, expect, "{name}");
            assert!(matches!(found.plan, Plan::Walk { .. }), "{name}");
        }
    }

    #[test]
    fn chooses() {
        let recent = vec![Order::new(Column::Updated, true)];
        let number = vec![Order::new(Column::Number { key: 1 }, false)];
        let walk = |window| Plan::Walk { window };
        let many = (0..2_000).map(|pk| super::super::sql::reference(3, pk));
        for (name, filter, order, expect) in [
            ("everything", vec![], &recent, walk(1_000)),
            ("frequent", vec![has(HALF)], &recent, walk(1_000)),
            (
                "two frequent",
                vec![has(HALF), has(ALL)],
                &recent,
                walk(1_000),
            ),
            ("rare", vec![has(RARE)], &recent, Plan::Filter),
            (
                "rare and frequent",
                vec![has(RARE), has(ALL)],
                &recent,
                Plan::Filter,
            ),
            ("one in a hundred", vec![has(OLD)], &recent, Plan::Filter),
            ("never", vec![Test::never()], &recent, Plan::Filter),
            (
                "not frequent",
                vec![has(HALF).negate()],
                &recent,
                walk(1_000),
            ),
            (
                "not everything",
                vec![has(ALL).negate()],
                &recent,
                walk(8_000),
            ),
            (
                "no index for the order",
                vec![has(ALL)],
                &number,
                Plan::Filter,
            ),
            (
                "many references",
                vec![Test::AnyOfReferences(many.collect())],
                &recent,
                walk(1_000),
            ),
            (
                "pointed at",
                vec![Test::PointedAt(3, Box::new(has(ALL)))],
                &recent,
                walk(WINDOW_MAX_LOOKUPS),
            ),
        ] {
            let query = FlatQuery {
                types: vec![7],
                filter,
                order: order.clone(),
                ..FlatQuery::default()
            };
            let counted = Counted::default();
            let estimate = plan(&query, &statistics(), &counted, 20);
            assert_eq!(estimate.plan, expect, "{name}");
        }
    }

    #[test]
    fn filters_what_statistics_do_not_know() {
        let query = FlatQuery {
            types: vec![8],
            filter: vec![has(ALL)],
            order: vec![Order::new(Column::Updated, true)],
            ..FlatQuery::default()
        };
        for statistics in [statistics(), Statistics::default()] {
            let estimate = plan(&query, &statistics, &Counted::default(), 20);
            assert_eq!(estimate.plan, Plan::Filter);
        }
    }

    /// A walk that begins within the range finds something at once, if there is something to be found soon.
    #[test]
    fn tries_a_range_that_statistics_do_not_know() {
        let walk = Plan::Walk { window: WINDOW_MIN };
        for (prefix, longest, expect) in [
            (Prefix::Lt, i64::MAX, walk),
            (Prefix::Le, 10, walk),
            (Prefix::Eq, i64::MAX, walk),
            (Prefix::Gt, i64::MAX, Plan::Filter),
        ] {
            let query = FlatQuery {
                types: vec![8],
                filter: vec![has(ALL), date(prefix, longest)],
                order: vec![Order::new(Column::Date { key: 1, present: 0 }, true)],
                ..FlatQuery::default()
            };
            for statistics in [statistics(), Statistics::default()] {
                let estimate = plan(&query, &statistics, &Counted::default(), 20);
                assert_eq!(estimate.plan, expect, "{prefix:?}");
            }
        }
    }

    /// What is dear is counted, the more the dearer it is.
    #[test]
    fn counts_what_may_be_dear() {
        for (name, filter, by, expect) in [
            (
                "a rare token",
                vec![has(RARE), number()],
                Column::Updated,
                None,
            ),
            ("a name", vec![strings()], Column::Updated, Some(4_000)),
            (
                "a name, sorted",
                vec![strings()],
                Column::Number { key: 5 },
                Some(5_000),
            ),
            (
                "half of all",
                vec![has(HALF), number()],
                Column::Number { key: 5 },
                Some(20_000),
            ),
        ] {
            let query = FlatQuery {
                types: vec![7],
                filter,
                order: vec![Order::new(by, true)],
                ..FlatQuery::default()
            };
            let estimate = plan(&query, &statistics(), &Counted::default(), 20);
            assert_eq!(count_max(&query, &estimate), expect, "{name}");
        }
    }
}
