//! Dates (<https://hl7.org/fhir/R5/search.html#date>): every date is a range of time, from the first moment it may mean to the first it
//! may not. Microseconds since 1970 UTC.
//!
//! Readings: a date without a zone is in UTC; second 60 is the last of its minute; of a Timing "the outer limits" count, which are its
//! events and bounds; a Period without a bound is open there.

use crate::elements::Element;
use fhir_search::query::{DateMatch, Prefix};
use serde_json::Value;

/// From the first moment to the one after the last; `None`: without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub from: Option<i64>,
    pub to: Option<i64>,
}

/// The time that an element covers.
pub(crate) fn span(element: &Element) -> Option<Span> {
    match element.type_name.as_str() {
        "Period" => period(&element.value),
        "Timing" => {
            let events = element.value.get("event").and_then(Value::as_array);
            let bounds = element
                .value
                .get("repeat")
                .and_then(|r| r.get("boundsPeriod"));
            let mut spans: Vec<Span> = events.into_iter().flatten().filter_map(date).collect();
            spans.extend(bounds.and_then(period));
            let open_start = spans.iter().any(|span| span.from.is_none());
            let open_end = spans.iter().any(|span| span.to.is_none());
            (!spans.is_empty()).then(|| Span {
                from: spans
                    .iter()
                    .filter_map(|span| span.from)
                    .min()
                    .filter(|_| !open_start),
                to: spans
                    .iter()
                    .filter_map(|span| span.to)
                    .max()
                    .filter(|_| !open_end),
            })
        }
        _ => date(&element.value),
    }
}

/// Whether the range of a resource meets the condition, as the table of prefixes says.
pub(crate) fn meets(span: Span, condition: &DateMatch) -> bool {
    let (from, to) = (condition.range.lo, condition.range.hi);
    let starts_before = |moment| span.from.is_none_or(|from| from < moment);
    let ends_after = |moment| span.to.is_none_or(|to| to > moment);
    let contained = !starts_before(from) && !ends_after(to);
    match condition.prefix {
        // "the range of the parameter value fully contains the range of the resource value"
        Prefix::Eq => contained,
        Prefix::Ne => !contained,
        // "the range above the parameter value intersects …"
        Prefix::Gt => ends_after(to),
        Prefix::Lt => starts_before(from),
        Prefix::Ge => ends_after(to) || contained,
        Prefix::Le => starts_before(from) || contained,
        // "… does not overlap, and the range above the parameter value contains the range of the resource value"
        Prefix::Sa => !starts_before(to),
        Prefix::Eb => !ends_after(from),
        // "overlaps": the AST has been widened already.
        Prefix::Ap => starts_before(to) && ends_after(from),
        // Of `_filter`: the range of the resource contains that of the value.
        Prefix::Co => {
            span.from.is_none_or(|start| start <= from) && span.to.is_none_or(|end| end >= to)
        }
    }
}

/// From start to end.
pub(crate) fn period(value: &Value) -> Option<Span> {
    let start = value.get("start").and_then(date);
    let end = value.get("end").and_then(date);
    (start.is_some() || end.is_some()).then(|| Span {
        from: start.and_then(|span| span.from),
        to: end.and_then(|span| span.to),
    })
}

fn date(value: &Value) -> Option<Span> {
    let (from, to) = written(value.as_str()?)?;
    Some(Span {
        from: Some(from),
        to: Some(to),
    })
}

const DAY: i64 = 86_400_000_000;

/// The range of a written date.
pub(crate) fn written(text: &str) -> Option<(i64, i64)> {
    let (day, clock) = match text.split_once('T') {
        Some((day, clock)) => (day, Some(clock)),
        None => (text, None),
    };
    let numbers: Vec<i64> = day
        .split('-')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let midnight = |year, month, day| days_before(year, month, day) * DAY;
    let (from, to) = match numbers[..] {
        [year] => (midnight(year, 1, 1), midnight(year + 1, 1, 1)),
        [year, 12] => (midnight(year, 12, 1), midnight(year + 1, 1, 1)),
        [year, month] => (midnight(year, month, 1), midnight(year, month + 1, 1)),
        [year, month, day] => (midnight(year, month, day), midnight(year, month, day) + DAY),
        _ => return None,
    };
    match clock {
        None => Some((from, to)),
        Some(clock) => {
            let (after, width) = time_of_day(clock)?;
            Some((from + after, from + after + width))
        }
    }
}

/// Microseconds after midnight UTC, and how many of them are meant.
fn time_of_day(clock: &str) -> Option<(i64, i64)> {
    let zone_at = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let minutes_east = match zone.split_once(':') {
        None => 0,
        Some((hours, minutes)) => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            sign * (hours[1..].parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?)
        }
    };
    let mut parts = clock.split(':');
    let hour: i64 = parts.next()?.parse().ok()?;
    let minute: i64 = parts.next()?.parse().ok()?;
    let start = ((hour * 60 + minute) - minutes_east) * 60_000_000;
    let Some(seconds) = parts.next() else {
        return Some((start, 60_000_000));
    };
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let whole: i64 = whole.parse::<i64>().ok()?.min(59);
    let mut width = 1_000_000;
    let mut micros = 0;
    for digit in fraction.chars().take(6) {
        width /= 10;
        micros += i64::from(digit.to_digit(10)?) * width;
    }
    Some((start + whole * 1_000_000 + micros, width))
}

/// Days from 1970-01-01 to that day, counted year by year and month by month.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let in_year = |year| if leap(year) { 366 } else { 365 };
    let years: i64 = match year >= 1970 {
        true => (1970..year).map(in_year).sum(),
        false => -(year..1970).map(in_year).sum::<i64>(),
    };
    let months = (1..month).map(|month| match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    });
    years + months.sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, from, to) in [
            ("1970", 0, 365 * DAY),
            ("1970-01-01", 0, DAY),
            ("1969-12", -31 * DAY, 0),
            ("2000-02", 10988 * DAY, 11017 * DAY),
            ("1970-01-01T00:01Z", 60_000_000, 120_000_000),
            ("1970-01-01T01:00:00+01:00", 0, 1_000_000),
            ("1970-01-01T00:00:00.25Z", 250_000, 260_000),
        ] {
            assert_eq!(written(text), Some((from, to)), "{text}");
        }
    }
}
