//! Where in an ordered index the rows lie that meet a condition on a range, so that they can be counted, up to a limit, before it is
//! decided what a search begins with (docs/adr/0014-search-plans.md). Pure.
//!
//! Rows that do not meet the condition may lie there as well; of rows that are no points, a few that meet it may not.

use super::flat::{Dates, QuantityTest, StringTest, Test};
use fhir_definitions::StringRows;
use fhir_search::position::{EARTH_METRES, Near};
use fhir_search::query::{Prefix, TextComparison};

/// A part of an index; both ends belong to it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Span {
    /// By the beginning of the date.
    Dates { key: i16, lo: i64, hi: i64 },
    /// By the number at its lower end, as text.
    Numbers {
        key: i16,
        marker: i64,
        lo: Option<String>,
        hi: Option<String>,
    },
    Strings {
        rows: StringRows,
        lo: String,
        hi: Option<String>,
    },
}

/// The parts of the index in which what meets the test lies; `None` where the test does not bound it.
pub(super) fn spans(test: &Test) -> Option<Vec<Span>> {
    match test {
        Test::Dates(dates) => of_dates(dates).map(|span| vec![span]),
        Test::Quantities(key, any) => any.iter().map(|test| of_quantity(*key, test)).collect(),
        Test::Strings(rows, any) => any.iter().map(|test| of_string(*rows, test)).collect(),
        Test::Near(key, any) => Some(any.iter().map(|near| of_near(*key, near)).collect()),
        _ => None,
    }
}

fn of_dates(dates: &Dates) -> Option<Span> {
    let bounds = dates.row_bounds()?;
    Some(Span::Dates {
        key: dates.key,
        lo: bounds.lo,
        hi: bounds.hi.saturating_sub(1),
    })
}

fn of_quantity(key: i16, test: &QuantityTest) -> Option<Span> {
    let (from, to) = (test.number.from.to_plain(), test.number.to.to_plain());
    let (lo, hi) = match test.number.prefix {
        Prefix::Eq | Prefix::Ap => (Some(from), Some(to)),
        Prefix::Gt | Prefix::Ge | Prefix::Sa => (Some(from), None),
        Prefix::Lt | Prefix::Le | Prefix::Eb => (None, Some(from)),
        Prefix::Ne | Prefix::Co => return None,
    };
    Some(Span::Numbers {
        key,
        marker: test.marker,
        lo,
        hi,
    })
}

fn of_string(rows: StringRows, test: &StringTest) -> Option<Span> {
    let (lo, hi) = match test {
        StringTest::StartsWith(start) => (start.clone(), Some(after_all_that_begin_with(start))),
        StringTest::Is(TextComparison::Equal, text) => (text.clone(), Some(text.clone())),
        StringTest::Is(TextComparison::Greater | TextComparison::GreaterOrEqual, text) => {
            (text.clone(), None)
        }
        StringTest::Is(TextComparison::Less | TextComparison::LessOrEqual, text) => {
            (String::new(), Some(text.clone()))
        }
        StringTest::Is(TextComparison::Unequal | TextComparison::EndsWith, _)
        | StringTest::Contains(_)
        | StringTest::Words(_)
        | StringTest::Cut => return None,
    };
    Some(Span::Strings { rows, lo, hi })
}

/// What no text that begins with `start` comes after: U+10FFFF sorts after every character that follows.
pub(super) fn after_all_that_begin_with(start: &str) -> String {
    format!("{start}\u{10FFFF}")
}

/// The latitude stands at the lower end.
fn of_near(key: i16, near: &Near) -> Span {
    let (south, north) = latitudes(near);
    Span::Numbers {
        key,
        marker: 0,
        lo: Some(south),
        hi: Some(north),
    }
}

/// The southernmost and the northernmost latitude of the circle, as decimals.
pub(super) fn latitudes(near: &Near) -> (String, String) {
    let reach = (near.reach_metres() / EARTH_METRES).to_degrees() + 1e-6;
    let latitude = near.at.latitude;
    (
        format!("{:.9}", latitude - reach),
        format!("{:.9}", latitude + reach),
    )
}

#[cfg(test)]
mod tests {
    use super::super::flat::DateTest;
    use super::*;
    use fhir_definitions::ParameterKey;
    use fhir_model::{DateRange, Decimal};
    use fhir_search::number::NumberRange;
    use fhir_search::query::DateMatch;

    #[test]
    fn of_tests() {
        let number = |prefix| {
            let decimal = |text| Decimal::parse(text).unwrap();
            let number = NumberRange {
                prefix,
                from: decimal("5"),
                to: decimal("6"),
            };
            Test::Quantities(
                3,
                vec![QuantityTest {
                    marker: 7,
                    number,
                    unit: Some(1),
                }],
            )
        };
        let numbers = |lo: Option<&str>, hi: Option<&str>| {
            Some(vec![Span::Numbers {
                key: 3,
                marker: 7,
                lo: lo.map(str::to_owned),
                hi: hi.map(str::to_owned),
            }])
        };
        let strings = |any: Vec<StringTest>| Test::Strings(StringRows::all(ParameterKey(4)), any);
        let begins = |text: &str| StringTest::StartsWith(text.to_owned());
        let string = |lo: &str, hi: &str| Span::Strings {
            rows: StringRows::all(ParameterKey(4)),
            lo: lo.to_owned(),
            hi: Some(hi.to_owned()),
        };
        let date = |prefix, single| {
            let range = DateRange { lo: 10, hi: 20 };
            let date = DateMatch { prefix, range };
            Test::Dates(Dates {
                key: 5,
                single,
                all: vec![vec![DateTest { marker: 0, date }]],
            })
        };
        let dates = |lo, hi| Some(vec![Span::Dates { key: 5, lo, hi }]);
        for (test, expect) in [
            (number(Prefix::Eq), numbers(Some("5"), Some("6"))),
            (number(Prefix::Gt), numbers(Some("5"), None)),
            (number(Prefix::Le), numbers(None, Some("5"))),
            (number(Prefix::Ne), None),
            (
                strings(vec![begins("a"), begins("b")]),
                Some(vec![string("a", "a\u{10FFFF}"), string("b", "b\u{10FFFF}")]),
            ),
            (
                strings(vec![StringTest::Is(TextComparison::Equal, "a".into())]),
                Some(vec![string("a", "a")]),
            ),
            (
                strings(vec![begins("a"), StringTest::Contains("b".into())]),
                None,
            ),
            // Of a period nothing is known but that it begins before it is over.
            (date(Prefix::Eq, None), dates(10, 19)),
            (date(Prefix::Lt, None), dates(i64::MIN, 9)),
            (date(Prefix::Gt, None), None),
            (date(Prefix::Gt, Some(3)), dates(17, i64::MAX - 1)),
            (Test::Tokens(vec![1]), None),
        ] {
            assert_eq!(spans(&test), expect, "{test:?}");
        }
    }
}
