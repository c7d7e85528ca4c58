//! What a date condition means (<https://hl7.org/fhir/R5/search.html#prefix>, #date). Both sides are ranges of time, half open.
//!
//! With the resource's range `[lo, hi)` and the written date's `[from, to)`:
//!
//! | prefix | matches when |
//! |---|---|
//! | eq | `lo >= from && hi <= to`: the resource lies inside |
//! | ne | not eq |
//! | gt | `hi > to`: some of it is after |
//! | lt | `lo < from`: some of it is before |
//! | ge | gt or eq |
//! | le | lt or eq |
//! | sa | `lo >= to`: all of it is after |
//! | eb | `hi <= from`: all of it is before |
//! | ap | `lo < to && hi > from`: they overlap; the parser has widened `[from, to)` by a tenth of its distance from now |
//! | co | `lo <= from && hi >= to`: the written date lies inside the resource's (of `_filter` alone) |

use crate::query::{DateMatch, Prefix};
use fhir_model::json::member;
use fhir_model::{DateRange, PartialDate};
use fhirpath::Node;
use serde_json::Value;

impl DateMatch {
    /// Whether a stored range `[lo, hi)` satisfies the condition.
    pub fn matches(&self, lo: i64, hi: i64) -> bool {
        let DateRange { lo: from, hi: to } = self.range;
        let inside = lo >= from && hi <= to;
        match self.prefix {
            Prefix::Eq => inside,
            Prefix::Ne => !inside,
            Prefix::Gt => hi > to,
            Prefix::Lt => lo < from,
            Prefix::Ge => hi > to || inside,
            Prefix::Le => lo < from || inside,
            Prefix::Sa => lo >= to,
            Prefix::Eb => hi <= from,
            Prefix::Ap => lo < to && hi > from,
            Prefix::Co => lo <= from && hi >= to,
        }
    }
}

/// The time that an element covers. A Period without one bound is open there. Of a Timing "only the outer limits matter": from the first
/// event or bound to the last; one that says no dates covers nothing that can be searched.
pub(crate) fn covered(node: Node<'_>) -> Option<DateRange> {
    match node.type_name {
        "Period" => period(node.value),
        "Timing" => {
            let events = member(node.value, "event").and_then(Value::as_array);
            let bounds = member(node.value, "repeat").and_then(|r| member(r, "boundsPeriod"));
            events
                .into_iter()
                .flatten()
                .filter_map(date)
                .chain(bounds.and_then(period))
                .reduce(|a, b| DateRange {
                    lo: a.lo.min(b.lo),
                    hi: a.hi.max(b.hi),
                })
        }
        _ => date(node.value),
    }
}

fn period(value: &Value) -> Option<DateRange> {
    let start = member(value, "start").and_then(date);
    let end = member(value, "end").and_then(date);
    (start.is_some() || end.is_some()).then(|| DateRange {
        lo: start.map_or(DateRange::MIN, |range| range.lo),
        hi: end.map_or(DateRange::MAX, |range| range.hi),
    })
}

fn date(value: &Value) -> Option<DateRange> {
    Some(PartialDate::parse(value.as_str()?)?.range)
}

/// `range`, a tenth of its distance from `now_micros` wider on both sides: what `ap` allows.
pub(crate) fn approximate(range: DateRange, now_micros: i64) -> DateRange {
    let distance = if now_micros < range.lo {
        range.lo.saturating_sub(now_micros)
    } else if now_micros > range.hi {
        now_micros.saturating_sub(range.hi)
    } else {
        0
    };
    DateRange {
        lo: range.lo.saturating_sub(distance / 10),
        hi: range.hi.saturating_add(distance / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which prefixes match, by the place of the resource's range against the condition's [10, 20).
    #[test]
    fn prefixes() {
        use Prefix::*;
        for ((lo, hi), expect) in [
            ((0, 5), vec![Ne, Lt, Le, Eb]),
            ((0, 10), vec![Ne, Lt, Le, Eb]),
            ((5, 15), vec![Ne, Lt, Le, Ap]),
            ((10, 20), vec![Eq, Ge, Le, Ap]),
            ((12, 13), vec![Eq, Ge, Le, Ap]),
            ((5, 25), vec![Ne, Gt, Lt, Ge, Le, Ap]),
            ((15, 25), vec![Ne, Gt, Ge, Ap]),
            ((20, 21), vec![Ne, Gt, Ge, Sa]),
            ((i64::MIN, 15), vec![Ne, Lt, Le, Ap]),
            ((15, i64::MAX), vec![Ne, Gt, Ge, Ap]),
        ] {
            let range = DateRange { lo: 10, hi: 20 };
            let got: Vec<_> = [Eq, Ne, Gt, Lt, Ge, Le, Sa, Eb, Ap]
                .into_iter()
                .filter(|&prefix| DateMatch { prefix, range }.matches(lo, hi))
                .collect();
            assert_eq!(got, expect, "[{lo}, {hi})");
        }
    }

    #[test]
    fn covers() {
        use serde_json::json;
        let day = |text: &str| PartialDate::parse(text).unwrap().range;
        let (a, b) = (day("2020-01-01"), day("2020-03"));
        for (type_name, value, expect) in [
            ("date", json!("2020-01-01"), Some((a.lo, a.hi))),
            ("dateTime", json!("nonsense"), None),
            (
                "Period",
                json!({"start": "2020-01-01", "end": "2020-03"}),
                Some((a.lo, b.hi)),
            ),
            (
                "Period",
                json!({"start": "2020-01-01"}),
                Some((a.lo, i64::MAX)),
            ),
            ("Period", json!({"end": "2020-03"}), Some((i64::MIN, b.hi))),
            ("Period", json!({}), None),
            (
                "Timing",
                json!({"event": ["2020-03", "2020-01-01"]}),
                Some((a.lo, b.hi)),
            ),
            (
                "Timing",
                json!({"repeat": {"boundsPeriod": {"start": "2020-03"}}, "event": ["2020-01-01"]}),
                Some((a.lo, i64::MAX)),
            ),
            ("Timing", json!({"repeat": {"frequency": 2}}), None),
            ("Timing", json!("odd"), None),
            ("Period", json!([1]), None),
            ("date", json!(2020), None),
        ] {
            let node = Node {
                value: &value,
                type_name,
                system: None,
            };
            assert_eq!(covered(node).map(|r| (r.lo, r.hi)), expect, "{value}");
        }
    }

    #[test]
    fn approximately() {
        let range = DateRange { lo: 1000, hi: 1100 };
        for (now, lo, hi) in [(0, 900, 1200), (1050, 1000, 1100), (2100, 900, 1200)] {
            assert_eq!(approximate(range, now), DateRange { lo, hi }, "{now}");
        }
    }
}
