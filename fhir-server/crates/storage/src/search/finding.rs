//! How all rows that meet a filter are found: which tests are read as wholes, and which are made on each row that those leave. Pure.

use super::estimate::{Estimates, is_led};
use super::flat::Test;

/// How all matches are found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    /// The tests, by their place in the filter, of which all rows are read, and which of them have all; the others are tested on each of these.
    /// None: those to which the index of tokens and references leads.
    pub lead: Vec<usize>,
    pub ms: f64,
    /// Whether that was more than guessed.
    pub known: bool,
    /// How many matches there are at the most, where something was counted.
    pub most: Option<f64>,
}

/// Rows that a GIN scan yields per millisecond of CPU, with their filter and sort.
const FILTERED_PER_MS: f64 = 3_500.0;
/// Rows that an ordered index yields per millisecond, counted or compared with those of another.
pub(super) const ORDERED_PER_MS: f64 = 5_000.0;
/// Milliseconds that each further key of an OR costs in a GIN scan.
const KEY_MS: f64 = 0.07;
/// Milliseconds that it costs to look at the entry of a row, or for a value of it in an ordered index.
pub(super) const LOOKUP_MS: f64 = 0.003;
/// The same of asking the index of references whether another row points at it.
pub(super) const PROBE_MS: f64 = 0.03;
/// What a filter costs of which nothing is known.
const UNKNOWN_MS: f64 = 2.0;

/// The cheapest way to find all matches.
pub(super) fn cheapest(filter: &[Test], estimates: &Estimates) -> Finding {
    let tests_ms: f64 = filter.iter().map(test_ms).sum();
    let leaders: Vec<usize> = (0..filter.len())
        .filter(|at| is_led(&filter[*at]))
        .collect();
    let mut ways = Vec::new();
    if let Some(hits) = estimates.led(filter) {
        let keys: usize = filter.iter().map(keys).sum();
        let read = 0.1 + KEY_MS * keys as f64 + hits / FILTERED_PER_MS;
        let known = estimates.know_types || filter.iter().any(|it| matches!(it, Test::Rows(_)));
        let ms = |ms: f64| if known { ms } else { ms.max(UNKNOWN_MS) };
        let tested = read + hits * tests_ms;
        ways.push(Finding {
            lead: Vec::new(),
            ms: ms(tested),
            known,
            most: None,
        });
        let (lead, compared) = compared(filter, estimates, leaders.clone(), hits);
        if lead.len() > leaders.len() {
            ways.push(Finding {
                lead,
                ms: ms(read + hits / ORDERED_PER_MS + compared),
                known,
                most: None,
            });
        }
    }
    let counted = |at: &usize| estimates.counted(*at);
    let least = (0..filter.len())
        .filter(|at| counted(at).is_some())
        .min_by(|a, b| f64::total_cmp(&estimates.rows[*a], &estimates.rows[*b]));
    if let Some((first, rows)) = least.and_then(|at| Some((at, counted(&at)?))) {
        let (lead, ms) = compared(filter, estimates, vec![first], rows);
        ways.push(Finding {
            lead,
            ms: 0.1 + rows / ORDERED_PER_MS + ms,
            known: true,
            most: None,
        });
    }
    let cheapest = ways.into_iter().min_by(|a, b| f64::total_cmp(&a.ms, &b.ms));
    let most = (0..filter.len()).filter_map(|at| estimates.counted(at));
    Finding {
        most: most.reduce(f64::min),
        ..cheapest.unwrap_or_else(|| guessed(filter, estimates))
    }
}

/// Which ordered tests are compared as wholes with the `rows` of the `lead`, because that costs less than testing those, and what that and testing
/// the rest costs.
fn compared(
    filter: &[Test],
    estimates: &Estimates,
    mut lead: Vec<usize>,
    mut rows: f64,
) -> (Vec<usize>, f64) {
    let mut others: Vec<(usize, f64)> = (0..filter.len())
        .filter(|at| !lead.contains(at))
        .filter_map(|at| Some((at, estimates.counted(at)?)))
        .collect();
    others.sort_by(|a, b| f64::total_cmp(&a.1, &b.1));
    let mut ms = 0.0;
    for (at, counted) in others {
        if counted / ORDERED_PER_MS < rows * LOOKUP_MS {
            ms += counted / ORDERED_PER_MS;
            rows *= (counted / estimates.all).min(1.0);
            lead.push(at);
        }
    }
    let rest = (0..filter.len()).filter(|at| !lead.contains(at));
    let rest: Vec<&Test> = rest.map(|at| &filter[at]).collect();
    let tested: f64 = rest.iter().map(|test| test_ms(test)).sum();
    let entry = match rest.iter().all(|test| test.asks_for_key_only()) {
        true => 0.0,
        false => LOOKUP_MS,
    };
    (lead, ms + rows * (entry + tested))
}

/// Nothing leads to the matches, or only what could not be counted.
fn guessed(filter: &[Test], estimates: &Estimates) -> Finding {
    let leads = (0..filter.len()).filter(|at| filter[*at].positive());
    let least = leads.min_by(|a, b| f64::total_cmp(&estimates.rows[*a], &estimates.rows[*b]));
    let rows = least.map_or(estimates.all, |at| estimates.rows[at].min(estimates.all));
    let others = (0..filter.len()).filter(|at| Some(*at) != least);
    let tests_ms: f64 = others.map(|at| test_ms(&filter[at])).sum();
    Finding {
        lead: least.into_iter().collect(),
        ms: (rows / ORDERED_PER_MS + rows * tests_ms).max(UNKNOWN_MS),
        known: false,
        most: None,
    }
}

/// What it costs to test a row whose entry is at hand.
pub(super) fn test_ms(test: &Test) -> f64 {
    match test {
        Test::PointedAt(..) => PROBE_MS,
        Test::Points(..) | Test::AnyOfReferences(_) => LOOKUP_MS,
        Test::Any(tests) | Test::All(tests) => tests.iter().map(test_ms).sum(),
        Test::Not(test) => test_ms(test),
        test if test.is_ordered() => LOOKUP_MS,
        _ => 0.0,
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
pub(super) mod tests {
    use super::super::estimate::{Count, Counted};
    use super::super::flat::{DateTest, Dates, QuantityTest, StringTest};
    use super::super::statistics::Statistics;
    use super::*;
    use fhir_definitions::{ParameterKey, StringRows};
    use fhir_model::{DateRange, Decimal};
    use fhir_search::number::NumberRange;
    use fhir_search::query::{DateMatch, Prefix};

    const HALF: i64 = 2;
    const OLD: i64 = 3;
    const RARE: i64 = 99;

    fn has(token: i64) -> Test {
        Test::Tokens(vec![token])
    }

    pub fn strings() -> Test {
        Test::Strings(
            StringRows::all(ParameterKey(4)),
            vec![StringTest::StartsWith("a".to_owned())],
        )
    }

    pub fn number() -> Test {
        let five = || Decimal::parse("5").unwrap();
        let number = NumberRange {
            prefix: Prefix::Gt,
            from: five(),
            to: five(),
        };
        let any = vec![QuantityTest {
            marker: 0,
            number,
            unit: None,
        }];
        Test::Quantities(5, any)
    }

    pub fn date(prefix: Prefix, single: i64) -> Test {
        let range = DateRange {
            lo: 1_000,
            hi: 1_001,
        };
        let date = DateMatch { prefix, range };
        Test::Dates(Dates {
            key: 1,
            single: Some(single),
            all: vec![vec![DateTest { marker: 0, date }]],
        })
    }

    /// With what was counted of each test (more than a thousand: not all), what is read as a whole before the others are tested.
    #[test]
    fn begins_with_the_least() {
        let tokens = [(HALF, 250_000.0), (OLD, 5_000.0)];
        let statistics = Statistics::known(1_000_000.0, &tokens, &[(7, 500_000.0)]);
        let names = || vec![strings(), date(Prefix::Eq, 0)];
        let numbers = |token| vec![has(token), number()];
        let none: &[usize] = &[];
        for (name, types, filter, counted, expect) in [
            ("a rare name", 7, names(), [10, 1_001], &[0][..]),
            ("two alike", 7, names(), [900, 800], &[1, 0]),
            ("two frequent ones", 7, names(), [1_001, 1_001], &[0]),
            ("a rare token", 7, numbers(RARE), [-1, 900], none),
            ("a frequent token", 7, numbers(HALF), [-1, 900], &[1]),
            ("a frequent number", 7, numbers(OLD), [-1, 1_001], none),
            ("less frequent", 7, numbers(OLD), [-1, 1_000], &[0, 1]),
            ("not known, and few", 8, numbers(HALF), [-1, 30], &[1]),
            ("not known, and many", 8, numbers(HALF), [-1, 1_001], none),
        ] {
            let of = |rows: &i64| Count {
                rows: *rows,
                all: *rows <= 1_000,
            };
            let counts = counted.iter().map(|rows| (*rows >= 0).then(|| of(rows)));
            let counted = Counted(counts.collect());
            let estimates = Estimates::of(&filter, &[types], &statistics, &counted);
            let finding = cheapest(&filter, &estimates);
            assert_eq!(finding.lead, expect, "{name}");
        }
    }
}
