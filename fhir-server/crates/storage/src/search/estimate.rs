//! How many rows meet a test: from the statistics, from what was counted, and where there is neither, a guess. Pure.

use super::flat::Test;
use super::statistics::Statistics;

/// Rows of an ordered test that were counted, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub rows: i64,
    /// Whether these are all.
    pub all: bool,
}

impl Count {
    /// Whether counting to `most` would tell no more.
    pub fn suffices(self, most: i64) -> bool {
        self.all || self.rows > most
    }
}

/// What was counted, by the place of the test in the filter.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted(pub Vec<Option<Count>>);

impl Counted {
    fn at(&self, at: usize) -> Option<Count> {
        self.0.get(at).copied().flatten()
    }

    /// All of them.
    fn exact(&self, at: usize) -> Option<f64> {
        let all = self.at(at).filter(|count| count.all);
        all.map(|count| count.rows as f64)
    }

    /// Where there are more than were counted, how many more is a guess.
    fn more(&self, at: usize) -> Option<f64> {
        self.at(at).map(|count| count.rows as f64 * MORE)
    }
}

/// How many times as many there are as were counted, where there are more.
const MORE: f64 = 4.0;

/// The rows of each test of a filter.
pub(super) struct Estimates<'a> {
    /// Of all types that are searched; at least 1.
    pub all: f64,
    /// By their place in the filter.
    pub rows: Vec<f64>,
    counted: &'a Counted,
    /// Whether there were rows of the types at the last ANALYZE. Else nothing is known of their tokens either.
    pub know_types: bool,
}

impl<'a> Estimates<'a> {
    pub fn of(
        filter: &[Test],
        types: &[i16],
        statistics: &Statistics,
        counted: &'a Counted,
    ) -> Estimates<'a> {
        let all = statistics.of_types(types);
        let rows = filter.iter().enumerate().map(|(at, test)| {
            let guess = rows(test, all, statistics);
            let more = counted.more(at).map_or(guess, |more| more.max(guess));
            counted.exact(at).unwrap_or(more)
        });
        Estimates {
            all,
            rows: rows.collect(),
            counted,
            know_types: statistics.know(types),
        }
    }

    /// What was counted of an ordered test.
    pub fn counted(&self, at: usize) -> Option<f64> {
        self.counted.exact(at)
    }

    /// Rows to read that were counted or follow from the statistics.
    pub fn known(&self, filter: &[Test]) -> Option<f64> {
        let counted = (0..filter.len()).filter_map(|at| self.counted(at));
        let named = self.least(filter, |test| matches!(test, Test::Rows(_)));
        let led = self.led(filter).filter(|_| self.know_types);
        counted.chain(named).chain(led).reduce(f64::min)
    }

    /// Rows to read to find all matches: those of the most selective condition that an index leads to.
    pub fn hits(&self, filter: &[Test]) -> f64 {
        self.least(filter, Test::positive).unwrap_or(self.all)
    }

    /// The same of the index of tokens and references; `None` where it leads nowhere.
    pub fn led(&self, filter: &[Test]) -> Option<f64> {
        self.least(filter, is_led)
    }

    fn least(&self, filter: &[Test], of: impl Fn(&Test) -> bool) -> Option<f64> {
        let rows = filter.iter().zip(&self.rows).filter(|(test, _)| of(test));
        rows.map(|(_, rows)| rows.min(self.all)).reduce(f64::min)
    }

    /// The part of all rows that the tests at these places leave, if they are independent.
    pub fn selectivity(&self, is_meant: impl Fn(usize) -> bool) -> f64 {
        let meant = self.rows.iter().enumerate().filter(|(at, _)| is_meant(*at));
        meant
            .map(|(_, rows)| (rows / self.all).clamp(1e-9, 1.0))
            .product()
    }
}

/// Whether the index of tokens and references, or row keys, lead to the rows for which the test holds.
pub(super) fn is_led(test: &Test) -> bool {
    match test {
        Test::Tokens(_) | Test::References(_) | Test::Rows(_) => true,
        Test::Any(tests) => tests.iter().all(is_led),
        Test::All(tests) => tests.iter().any(is_led),
        _ => false,
    }
}

/// Rows to read to find all matches, from statistics alone.
pub(super) fn hits(filter: &[Test], types: &[i16], statistics: &Statistics) -> f64 {
    Estimates::of(filter, types, statistics, &Counted::default()).hits(filter)
}

/// Matches, if the conditions are independent.
pub(super) fn matches(filter: &[Test], types: &[i16], statistics: &Statistics) -> f64 {
    let counted = Counted::default();
    let estimates = Estimates::of(filter, types, statistics, &counted);
    estimates.all * estimates.selectivity(|_| true)
}

/// The rows as far as statistics tell; 0 when they do not, and it can only be tried.
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
        Test::Updated(_) | Test::Words(..) => all,
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

#[cfg(test)]
mod tests {
    use super::super::flat::Dates;
    use super::*;

    #[test]
    fn known() {
        let (half, old, rare) = (2, 3, 99);
        let tokens = [(half, 250_000.0), (old, 5_000.0)];
        let statistics = Statistics::known(1_000_000.0, &tokens, &[(7, 500_000.0)]);
        let has = |token| Test::Tokens(vec![token]);
        for (test, expect) in [
            (has(half), 250_000.0),
            (has(rare), 50.0),
            (Test::Any(vec![has(half), has(old)]), 255_000.0),
            (Test::All(vec![Test::Type(vec![7]), has(old)]), 5_000.0),
            (Test::Dates(Dates::any(1)), 0.0),
        ] {
            assert_eq!(known_hits(&test, &statistics), expect, "{test:?}");
        }
    }
}
