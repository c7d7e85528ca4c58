//! Partial dates: `date`, `dateTime` and `instant` of <https://hl7.org/fhir/R5/datatypes.html#dateTime>, understood as ranges of time.
//!
//! A date without a zone is read in UTC (the specification leaves the choice to the server; one fixed zone keeps stored ranges
//! comparable). Second 60 is legal and is read as the last microsecond-range of its minute; hour 24 is not legal.

use jiff::civil::Date;

const MICROS: i64 = 1_000_000;

/// Microseconds since 1970-01-01T00:00:00Z, half open: `[lo, hi)`. [`DateRange::MIN`] and [`DateRange::MAX`] stand for no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateRange {
    pub lo: i64,
    pub hi: i64,
}

impl DateRange {
    pub const MIN: i64 = i64::MIN;
    pub const MAX: i64 = i64::MAX;
}

/// How much of a date was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Year,
    Month,
    Day,
    Minute,
    Second,
    /// With a fraction of a second.
    Fraction,
}

/// A date as it was written, with the time it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialDate {
    pub precision: Precision,
    pub range: DateRange,
    /// Whether a zone (`Z` or `±hh:mm`) was written.
    pub zoned: bool,
}

impl PartialDate {
    /// Reads `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, `YYYY-MM-DDThh:mm[:ss[.f…]][Z|±hh:mm]`. The minute-only and the zoneless forms are
    /// not legal in resources but are in searches (<https://hl7.org/fhir/R5/search.html#date>); validation refuses them there.
    /// `None` when it is no date.
    pub fn parse(text: &str) -> Option<PartialDate> {
        if !text.is_ascii() || text.len() > 40 {
            return None;
        }
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut parts = date.split('-');
        let year = digits(parts.next()?, 4)? as i16;
        let month = parts.next().map(|m| digits(m, 2)).transpose_none()?;
        let day = parts.next().map(|d| digits(d, 2)).transpose_none()?;
        if parts.next().is_some() || year == 0 {
            return None;
        }
        let (precision, first, next) = match (month, day) {
            (None, _) => (
                Precision::Year,
                Date::new(year, 1, 1).ok()?,
                days(year + 1, 1, 1)?,
            ),
            (Some(m), None) => {
                let first = Date::new(year, m as i8, 1).ok()?;
                let next = if m == 12 {
                    days(year + 1, 1, 1)?
                } else {
                    days(year, m as i8 + 1, 1)?
                };
                (Precision::Month, first, next)
            }
            (Some(m), Some(d)) => {
                let first = Date::new(year, m as i8, d as i8).ok()?;
                (Precision::Day, first, day_number(first) + 1)
            }
        };
        let start = day_number(first);
        let Some(time) = time else {
            let range = DateRange {
                lo: start * 86_400 * MICROS,
                hi: next * 86_400 * MICROS,
            };
            return Some(PartialDate {
                precision,
                range,
                zoned: false,
            });
        };
        if precision != Precision::Day {
            return None;
        }
        time_of_day(start, time)
    }
}

fn time_of_day(day: i64, time: &str) -> Option<PartialDate> {
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let offset_minutes = match zone {
        "" | "Z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes =
                digits(hours, 2)? as i64 * 60 + digits(minutes, 2).filter(|m| *m < 60)? as i64;
            if minutes > 14 * 60 {
                return None;
            }
            if zone.starts_with('-') {
                -minutes
            } else {
                minutes
            }
        }
    };
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 2).filter(|h| *h < 24)? as i64;
    let minute = digits(parts.next()?, 2).filter(|m| *m < 60)? as i64;
    let second = parts.next();
    if parts.next().is_some() {
        return None;
    }
    let minute_start = (day * 1440 + hour * 60 + minute - offset_minutes) * 60 * MICROS;
    let (precision, lo, width) = match second {
        None => (Precision::Minute, minute_start, 60 * MICROS),
        Some(second) => {
            let (whole, fraction) = match second.split_once('.') {
                Some((whole, fraction)) => (whole, Some(fraction)),
                None => (second, None),
            };
            let whole = digits(whole, 2).filter(|s| *s <= 60)?.min(59) as i64;
            let second_start = minute_start + whole * MICROS;
            match fraction {
                None => (Precision::Second, second_start, MICROS),
                Some(f) => {
                    if f.is_empty() || !f.bytes().all(|b| b.is_ascii_digit()) {
                        return None;
                    }
                    let places = f.len().min(6);
                    let unit = 10_i64.pow(6 - places as u32);
                    let value: i64 = f[..places].parse().ok()?;
                    (Precision::Fraction, second_start + value * unit, unit)
                }
            }
        }
    };
    Some(PartialDate {
        precision,
        range: DateRange { lo, hi: lo + width },
        zoned: !zone.is_empty(),
    })
}

/// `instant` text in UTC with milliseconds, as `meta.lastUpdated` is written: `2026-01-31T08:00:00.123Z`.
pub fn instant_text(millis: i64) -> String {
    let (days, ms) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let date = Date::constant(1970, 1, 1)
        .checked_add(jiff::Span::new().days(days))
        .unwrap_or(Date::MAX);
    let (s, frac) = (ms / 1000, ms % 1000);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{frac:03}Z",
        date.year(),
        date.month(),
        date.day(),
        s / 3600,
        s / 60 % 60,
        s % 60
    )
}

fn days(year: i16, month: i8, day: i8) -> Option<i64> {
    // The year after 9999 exists only as an upper bound.
    if year == 10_000 {
        return Some(day_number(Date::new(9999, 12, 31).ok()?) + 1);
    }
    Some(day_number(Date::new(year, month, day).ok()?))
}

fn day_number(date: Date) -> i64 {
    let epoch = Date::constant(1970, 1, 1);
    epoch
        .until(date)
        .map(|span| i64::from(span.get_days()))
        .unwrap_or_default()
}

fn digits(text: &str, count: usize) -> Option<u32> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// `Option<Option<T>>` of a part that may be absent but not malformed.
trait TransposeNone<T> {
    fn transpose_none(self) -> Option<Option<T>>;
}

impl<T> TransposeNone<T> for Option<Option<T>> {
    fn transpose_none(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(Some(value)) => Some(Some(value)),
            Some(None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Option<(i64, i64)> {
        PartialDate::parse(text).map(|d| (d.range.lo, d.range.hi))
    }

    #[test]
    fn covers() {
        let day = 86_400 * MICROS;
        for (text, expect) in [
            ("1970", Some((0, 365 * day))),
            ("1970-01", Some((0, 31 * day))),
            ("1970-12", Some((334 * day, 365 * day))),
            ("1970-01-02", Some((day, 2 * day))),
            ("1970-01-01T00:01", Some((60 * MICROS, 120 * MICROS))),
            ("1970-01-01T00:00:01Z", Some((MICROS, 2 * MICROS))),
            ("1970-01-01T01:00:00+01:00", Some((0, MICROS))),
            ("1970-01-01T00:00:00.5Z", Some((500_000, 600_000))),
            ("1970-01-01T00:00:00.1234567Z", Some((123_456, 123_457))),
            ("1970-01-01T00:00:60Z", Some((59 * MICROS, 60 * MICROS))),
            ("1970-01-01T24:00:00Z", None),
            ("1970-13", None),
            ("1970-02-30", None),
            ("0000", None),
            ("70", None),
            ("1970-1-1", None),
            ("1970T00:00", None),
            ("1970-01-01T", None),
            ("1970-01-01T00:00:00+15:00", None),
            ("1970-01-01T00:00:00.Z", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(range(text), expect, "{text}");
        }
        assert!(
            range("9999-12-31").is_some() && range("9999").is_some() && range("0001").is_some()
        );
    }

    #[test]
    fn instants() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
        ] {
            assert_eq!(instant_text(millis), text);
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,30}") { let _ = PartialDate::parse(&text); }

        #[test]
        fn instants_read_back(millis in 0i64..4_102_444_800_000) {
            let read = PartialDate::parse(&instant_text(millis)).unwrap();
            prop_assert_eq!(read.range.lo, millis * 1000);
            prop_assert_eq!(read.range.hi, millis * 1000 + 1000);
        }
    }
}
