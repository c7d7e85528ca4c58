//! Walk the sort index, or filter first and then sort: decided from statistics alone, with the costs that were measured
//! (docs/adr/0002-postgres-layout.md). Pure.
//!
//! A wrong guess is bounded on both sides: a walk ends with its window, and what it did not find the filter then does.

use super::bounds::{self, Bounds};
use super::flat::{FlatQuery, Test};
use super::sql::walkable;
use super::statistics::Statistics;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Look at so many entries in sort order.
    Walk { window: i64 },
    /// Find all matches, then sort.
    Filter,
    /// The same, beginning with the rows whose date lies in the asked-for range.
    Range,
}

/// A plan and what it is thought to cost, in milliseconds of CPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub plan: Plan,
    pub ms: f64,
}

/// Entries that one walk looks at.
pub(super) const WINDOW_MIN: i64 = 1_000;
pub(super) const WINDOW_MAX: i64 = 40_000;
/// The same where a test looks into the entry's references, and where it asks the index.
const WINDOW_MAX_REFERENCES: i64 = 15_000;
const WINDOW_MAX_LOOKUPS: i64 = 250;
/// More rows than this are not asked for one by one in the index.
pub(super) const LOOKUPS_MAX: f64 = 1_000.0;
/// Up to so many rows, testing a range on each costs less than reading the range.
const LED_MAX: f64 = 5_000.0;
/// More matches than this are not collected to be sorted when their order can be walked.
pub(super) const FILTER_MAX: f64 = 300_000.0;

/// So few matches are always collected: that costs little, while a walk that finds none of them looks at its whole window in vain. A type that
/// is new since the last ANALYZE, and every type before the first, counts as few.
const FEW: f64 = 100.0;

/// Rows that a GIN scan yields per millisecond of CPU, with their filter and sort.
const FILTERED_PER_MS: f64 = 3_500.0;
/// Entries that a walk tests per millisecond of CPU.
const WALKED_PER_MS: f64 = 2_200.0;
/// Milliseconds that each further key of an OR costs in a GIN scan.
const KEY_MS: f64 = 0.07;
/// Milliseconds that a test of a range costs on a row to which something else led.
const RANGE_TEST_MS: f64 = 0.001;
/// Rows of a range that are read and tested per millisecond.
const RANGED_PER_MS: f64 = 1_000.0;
/// What a filter costs of which nothing is known.
const UNKNOWN_MS: f64 = 2.0;
/// Asking how many rows a range has is not worth it for less.
const PROBE_MS: f64 = 0.5;
/// More rows of a range are not begun with.
const RANGE_MAX: f64 = 5_000.0;
/// The part of a walk that has to pass everything before the range, where that cannot be left out.
const BEFORE_RANGE: f64 = 0.01;
/// Hits are not spread evenly: how much longer a walk may take than the average says.
const UNEVEN: f64 = 3.0;

/// How to answer `query` for a page of `limit` matches.
pub(super) fn plan(query: &FlatQuery, statistics: &Statistics, limit: usize) -> Estimate {
    let (known, filter_ms) = filter_cost(query, statistics);
    let filter = Estimate {
        plan: Plan::Filter,
        ms: filter_ms,
    };
    if !walkable(&query.types, &query.order) {
        return filter;
    }
    let walked = walked(query, statistics, limit);
    let window_max = window_max(&query.filter);
    let window = ((4.0 * walked) as i64).clamp(WINDOW_MIN.min(window_max), window_max);
    let walk = Estimate {
        plan: Plan::Walk { window },
        ms: UNEVEN * walked / WALKED_PER_MS,
    };
    if !query.filter.iter().any(Test::positive) {
        return walk;
    }
    // Without statistics a walk is worth trying where it begins within its range; where the range ends as well, it is asked how many rows it has.
    let begins = bounds::of_order(&query.filter, &query.order).is_some();
    let ends = bounds::range(&query.filter).is_some();
    let hits = hits(&query.filter, &query.types, statistics);
    match known {
        true if hits <= FEW => filter,
        false if (hits <= FEW && !begins) || ends => filter,
        _ if filter.ms <= walk.ms => filter,
        _ => walk,
    }
}

/// Entries that a walk looks at until it has a page, on the average.
fn walked(query: &FlatQuery, statistics: &Statistics, limit: usize) -> f64 {
    let Some((dates, bounds)) = bounds::of_order(&query.filter, &query.order) else {
        return limit as f64 / selectivity(&query.filter, &query.types, statistics);
    };
    // Within its range the date tells nothing.
    let others: Vec<Test> = query
        .filter
        .iter()
        .filter(|test| !matches!(test, Test::Dates(there) if there == dates))
        .cloned()
        .collect();
    let mut selectivity = selectivity(&others, &query.types, statistics);
    let begins = |bounds: Bounds| match query.order[0].falls() {
        true => bounds.hi < i64::MAX,
        false => bounds.lo > i64::MIN,
    };
    if !begins(bounds) && dates.most().is_some_and(begins) {
        selectivity *= BEFORE_RANGE;
    }
    limit as f64 / selectivity
}

/// Whether it is known how many rows a filter reads, and what it costs.
fn filter_cost(query: &FlatQuery, statistics: &Statistics) -> (bool, f64) {
    let known = query.filter.iter().map(|test| known_hits(test, statistics));
    let known = known.filter(|hits| *hits > 0.0).reduce(f64::min);
    let keys: usize = query.filter.iter().map(keys).sum();
    let ranges = query.filter.iter().filter(|test| is_range(test)).count() as f64;
    let hits = hits(&query.filter, &query.types, statistics);
    let ms = 0.1 + KEY_MS * keys as f64 + hits * (1.0 / FILTERED_PER_MS + ranges * RANGE_TEST_MS);
    // Of a type that is new since the last ANALYZE, nothing is known of its tokens either.
    match known.is_some() && statistics.know(&query.types) {
        true => (true, ms),
        false => (false, ms.max(UNKNOWN_MS)),
    }
}

/// Whether how many rows it holds for is only guessed.
pub(super) fn is_range(test: &Test) -> bool {
    matches!(test, Test::Dates(_) | Test::Quantities(..) | Test::Near(..))
}

/// How many rows a range may have to be begun with instead of what was estimated; `None` when it is not worth asking.
pub(super) fn range_max(estimate: Estimate) -> Option<i64> {
    (estimate.ms >= PROBE_MS).then(|| (estimate.ms * RANGED_PER_MS).min(RANGE_MAX) as i64)
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

/// Rows to read to find all matches: those of the most selective condition that an index leads to. An estimate.
pub(super) fn hits(filter: &[Test], types: &[i16], statistics: &Statistics) -> f64 {
    let all = statistics.of_types(types);
    filter
        .iter()
        .filter(|test| test.positive())
        .map(|test| rows(test, all, statistics))
        .fold(all, f64::min)
}

/// The same as far as statistics tell; 0 when they do not, and it can only be tried.
pub(super) fn known_hits(test: &Test, statistics: &Statistics) -> f64 {
    match test {
        Test::Tokens(_) | Test::References(_) | Test::Rows(_) => rows(test, f64::MAX, statistics),
        Test::Any(tests) => tests.iter().map(|test| known_hits(test, statistics)).sum(),
        Test::All(tests) => tests
            .iter()
            .map(|test| known_hits(test, statistics))
            .filter(|hits| *hits > 0.0)
            .reduce(f64::min)
            .unwrap_or(0.0),
        _ => 0.0,
    }
}

/// Whether tokens, references or row keys lead to at most [`LED_MAX`] rows.
pub(super) fn led(filter: &[Test], statistics: &Statistics) -> bool {
    let hits = filter.iter().map(|test| known_hits(test, statistics));
    let least = hits.filter(|hits| *hits > 0.0).reduce(f64::min);
    least.is_some_and(|hits| hits <= LED_MAX)
}

/// Matches, if the conditions are independent. An estimate.
pub(super) fn matches(filter: &[Test], types: &[i16], statistics: &Statistics) -> f64 {
    statistics.of_types(types) * selectivity(filter, types, statistics)
}

/// The part of all rows that match, if the conditions are independent.
fn selectivity(filter: &[Test], types: &[i16], statistics: &Statistics) -> f64 {
    let all = statistics.of_types(types);
    filter
        .iter()
        .map(|test| (rows(test, all, statistics) / all).clamp(1e-9, 1.0))
        .product()
}

/// Rows for which the test holds, of `all`. What has no statistics is given a part that makes both plans cheap to try.
fn rows(test: &Test, all: f64, statistics: &Statistics) -> f64 {
    let sum = |tests: &mut dyn Iterator<Item = f64>| tests.sum::<f64>().min(all);
    match test {
        Test::Type(types) => statistics.of_types(types),
        Test::Tokens(tokens) => sum(&mut tokens.iter().map(|token| statistics.token(*token))),
        Test::References(references) => {
            sum(&mut references.iter().map(|r| statistics.reference(*r)))
        }
        Test::Rows(rows) => (rows.len() as f64).min(all),
        Test::Dates(_) | Test::Quantities(..) | Test::Near(..) => all * 0.1,
        Test::Strings(_, any) => (all * 0.001 * any.len() as f64).max(1.0).min(all),
        Test::Updated(_) => all,
        Test::AnyOfReferences(references) => {
            sum(&mut references.iter().map(|r| statistics.reference(*r)))
        }
        Test::Points(..) | Test::PointedAt(..) => all * 0.2,
        Test::Any(tests) => sum(&mut tests.iter().map(|test| rows(test, all, statistics))),
        Test::All(tests) => tests
            .iter()
            .map(|test| rows(test, all, statistics))
            .fold(all, f64::min),
        Test::Not(test) => (all - rows(test, all, statistics)).max(all * 0.01),
    }
}

/// Keys of an OR that an index scan looks up one by one.
fn keys(test: &Test) -> usize {
    match test {
        Test::Tokens(keys) | Test::References(keys) => keys.len().saturating_sub(1),
        Test::Any(tests) | Test::All(tests) => tests.iter().map(self::keys).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::flat::{Column, DateTest, Dates, Order};
    use super::*;
    use fhir_model::DateRange;
    use fhir_search::query::{DateMatch, Prefix};

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
            assert_eq!(plan(&query, &statistics(), 20).plan, expect, "{name}");
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
            assert_eq!(plan(&query, &statistics, 20).plan, Plan::Filter);
        }
    }

    /// A walk that begins within the range finds something at once; of a range with two ends the rows can be counted.
    #[test]
    fn tries_a_range_that_statistics_do_not_know() {
        let walk = Plan::Walk { window: WINDOW_MIN };
        for (prefix, longest, expect) in [
            (Prefix::Lt, i64::MAX, walk),
            (Prefix::Le, 10, walk),
            (Prefix::Eq, i64::MAX, Plan::Filter),
            (Prefix::Ap, 10, Plan::Filter),
        ] {
            let test = DateTest {
                marker: 0,
                date: DateMatch {
                    prefix,
                    range: DateRange {
                        lo: 1_000,
                        hi: 1_001,
                    },
                },
            };
            let dates = Dates {
                key: 1,
                single: Some(longest),
                all: vec![vec![test]],
            };
            let query = FlatQuery {
                types: vec![8],
                filter: vec![has(ALL), Test::Dates(dates)],
                order: vec![Order::new(Column::Date { key: 1, present: 0 }, true)],
                ..FlatQuery::default()
            };
            for statistics in [statistics(), Statistics::default()] {
                let estimate = plan(&query, &statistics, 20);
                assert_eq!(estimate.plan, expect, "{prefix:?}");
                assert_eq!(range_max(estimate).is_some(), expect == Plan::Filter);
            }
        }
    }

    #[test]
    fn known() {
        for (test, expect) in [
            (has(HALF), 250_000.0),
            (has(RARE), 50.0),
            (Test::Any(vec![has(HALF), has(OLD)]), 255_000.0),
            (Test::All(vec![Test::Type(vec![7]), has(OLD)]), 5_000.0),
            (
                Test::Dates(Dates {
                    key: 1,
                    single: None,
                    all: Vec::new(),
                }),
                0.0,
            ),
        ] {
            assert_eq!(known_hits(&test, &statistics()), expect, "{test:?}");
        }
    }
}
