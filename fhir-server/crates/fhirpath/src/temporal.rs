//! Dates and times with the precision they were written with (<https://hl7.org/fhirpath/#date>, `#datetime`, `#time`).
//!
//! Seconds and their fraction are one precision. Where one side has a zone and the other none, the order is known only if it is the same
//! in every zone of the earth (UTC-12 to UTC+14).

use crate::quantity::CalendarUnit;
use bigdecimal::{BigDecimal, ToPrimitive};
use std::cmp::Ordering;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemporalKind {
    Date,
    DateTime,
    Time,
}

/// The last part that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TemporalPrecision {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    /// With or without a fraction.
    Second,
}

/// A Date, DateTime or Time. Parts beyond the precision hold their least value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporal {
    pub kind: TemporalKind,
    pub precision: TemporalPrecision,
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) nano: i64,
    /// Written digits of the fraction, at most 9.
    pub(crate) fraction: u8,
    /// Minutes east of UTC.
    pub(crate) offset: Option<i64>,
}

const NANOS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

impl Temporal {
    /// Reads `2026`, `2026-01-31T08`, `08:30` and so on, without the `@` or `T` of a literal. `None` when it is none of this kind.
    pub fn parse(kind: TemporalKind, text: &str) -> Option<Temporal> {
        use TemporalPrecision::*;
        let mut read = Temporal {
            kind,
            precision: Year,
            year: 1,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            nano: 0,
            fraction: 0,
            offset: None,
        };
        if !text.is_ascii() || text.len() > 40 {
            return None;
        }
        let (date, time) = match kind {
            TemporalKind::Time => ("", text),
            TemporalKind::Date => (text, ""),
            TemporalKind::DateTime => text.split_once('T').unwrap_or((text, "")),
        };
        if kind != TemporalKind::Time {
            let mut parts = date.split('-');
            read.year = digits(parts.next()?, 4)?;
            for (part, precision) in parts.by_ref().zip([Month, Day]) {
                *match precision {
                    Month => &mut read.month,
                    _ => &mut read.day,
                } = digits(part, 2)?;
                read.precision = precision;
            }
            let valid = parts.next().is_none()
                && read.year > 0
                && (1..=12).contains(&read.month)
                && (1..=month_days(read.year, read.month)).contains(&read.day);
            if !valid {
                return None;
            }
        }
        if time.is_empty() && kind != TemporalKind::Time {
            return Some(read);
        }
        if kind == TemporalKind::DateTime && read.precision != Day {
            return None;
        }
        read.time(time)?;
        Some(read)
    }

    /// Reads the time of day and, in a DateTime, the zone.
    fn time(&mut self, text: &str) -> Option<()> {
        use TemporalPrecision::*;
        let zone_at = text.find(['Z', '+', '-']).unwrap_or(text.len());
        let (clock, zone) = text.split_at(zone_at);
        self.offset = match zone {
            "" => None,
            _ if self.kind == TemporalKind::Time => return None,
            "Z" => Some(0),
            _ => {
                let (hours, minutes) = zone[1..].split_once(':')?;
                let minutes = digits(hours, 2)? * 60 + digits(minutes, 2).filter(|m| *m < 60)?;
                let sign = if zone.starts_with('-') { -1 } else { 1 };
                Some(sign * minutes).filter(|minutes| minutes.abs() <= 14 * 60)
            }
            .map(Some)?,
        };
        let mut parts = clock.splitn(3, ':');
        self.hour = digits(parts.next()?, 2).filter(|h| *h < 24)?;
        self.precision = Hour;
        if let Some(minute) = parts.next() {
            self.minute = digits(minute, 2).filter(|m| *m < 60)?;
            self.precision = Minute;
        }
        if let Some(second) = parts.next() {
            let (whole, fraction) = second.split_once('.').unwrap_or((second, ""));
            if second.ends_with('.') {
                return None;
            }
            // A leap second is read as the second before it.
            self.second = digits(whole, 2).filter(|s| *s <= 60)?.min(59);
            self.precision = Second;
            let kept = &fraction[..fraction.len().min(9)];
            if !fraction.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            if !kept.is_empty() {
                self.nano = kept.parse::<i64>().ok()? * 10_i64.pow(9 - kept.len() as u32);
            }
            self.fraction = kept.len() as u8;
        }
        Some(())
    }

    /// The date part alone, or the DateTime that a Date is.
    pub(crate) fn as_kind(&self, kind: TemporalKind) -> Temporal {
        let mut changed = self.clone();
        changed.kind = kind;
        if kind == TemporalKind::Date {
            changed.precision = self.precision.min(TemporalPrecision::Day);
            (changed.hour, changed.minute, changed.second) = (0, 0, 0);
            (changed.nano, changed.fraction, changed.offset) = (0, 0, None);
        }
        changed
    }

    /// Which is earlier; `None` where the precisions or a missing zone leave it open. Times compare with times only.
    pub(crate) fn order(&self, other: &Temporal) -> Option<Ordering> {
        if self.offset.is_some() != other.offset.is_some() {
            let ((a_low, a_high), (b_low, b_high)) = (self.span(), other.span());
            return match (a_high <= b_low, b_high <= a_low) {
                (true, _) => Some(Ordering::Less),
                (_, true) => Some(Ordering::Greater),
                _ => None,
            };
        }
        let (a, b) = (self.in_utc(), other.in_utc());
        let precision = a.precision.min(b.precision);
        let parts = |t: &Temporal| {
            [
                (TemporalPrecision::Year, t.year),
                (TemporalPrecision::Month, t.month),
                (TemporalPrecision::Day, t.day),
                (TemporalPrecision::Hour, t.hour),
                (TemporalPrecision::Minute, t.minute),
                (TemporalPrecision::Second, t.second * NANOS + t.nano),
            ]
        };
        let order = parts(&a)
            .into_iter()
            .zip(parts(&b))
            .filter(|((part, _), _)| *part <= precision)
            .map(|((_, a), (_, b))| a.cmp(&b))
            .find(|order| order.is_ne());
        match order {
            Some(order) => Some(order),
            None if a.precision == b.precision => Some(Ordering::Equal),
            None => None,
        }
    }

    /// The nanoseconds it covers, half open, whatever the zone is where none was written.
    fn span(&self) -> (i128, i128) {
        use TemporalPrecision::*;
        let start = self.nanos();
        let length = match self.precision {
            Year => i128::from(year_days(self.year) * DAY_SECONDS) * i128::from(NANOS),
            Month => {
                i128::from(month_days(self.year, self.month) * DAY_SECONDS) * i128::from(NANOS)
            }
            Day => i128::from(DAY_SECONDS * NANOS),
            Hour => i128::from(3600 * NANOS),
            Minute => i128::from(60 * NANOS),
            // An instant, however many digits were written.
            Second => 1,
        };
        match self.offset {
            Some(minutes) => {
                let shift = i128::from(minutes) * 60 * i128::from(NANOS);
                (start - shift, start - shift + length)
            }
            None => {
                let hour = 3600 * i128::from(NANOS);
                (start - 14 * hour, start + length + 12 * hour)
            }
        }
    }

    /// Since 1970-01-01 of its own clock.
    fn nanos(&self) -> i128 {
        let days = days_from_civil(self.year, self.month, self.day);
        let seconds = days * DAY_SECONDS + self.hour * 3600 + self.minute * 60 + self.second;
        i128::from(seconds) * i128::from(NANOS) + i128::from(self.nano)
    }

    fn set_nanos(&mut self, nanos: i128) -> Option<()> {
        let day = i128::from(DAY_SECONDS * NANOS);
        let days = i64::try_from(nanos.div_euclid(day)).ok()?;
        let rest = i64::try_from(nanos.rem_euclid(day)).ok()?;
        if self.kind != TemporalKind::Time {
            (self.year, self.month, self.day) = civil_from_days(days);
        }
        let seconds = rest / NANOS;
        (self.hour, self.minute) = (seconds / 3600, seconds / 60 % 60);
        (self.second, self.nano) = (seconds % 60, rest % NANOS);
        (1..=9999).contains(&self.year).then_some(())
    }

    fn in_utc(&self) -> Temporal {
        let mut moved = self.clone();
        if let Some(minutes) = self.offset {
            let shift = i128::from(minutes) * 60 * i128::from(NANOS);
            // Beyond year 1 or 9999 the order by the local clock is right as well.
            if moved.set_nanos(self.nanos() - shift).is_none() {
                return self.clone();
            }
        }
        moved
    }

    /// This plus `amount` of a unit (<https://hl7.org/fhirpath/#datetime-arithmetic>). `None` when it leaves the years 1 to 9999.
    /// A unit finer than the precision is first turned into the precision's, cut off.
    pub(crate) fn plus(&self, amount: &BigDecimal, unit: CalendarUnit) -> Option<Temporal> {
        use TemporalPrecision::*;
        let mut sum = self.clone();
        if unit == CalendarUnit::Second || unit == CalendarUnit::Millisecond {
            let nanos = amount * BigDecimal::from(unit.nanos()?);
            let nanos = nanos.to_i128()?;
            return match self.precision {
                Second => {
                    let digits = (1..=9).rev().find(|d| nanos % 10_i128.pow(9 - d) != 0);
                    sum.fraction = sum.fraction.max(match digits {
                        Some(digits) if digits > 3 => digits as u8,
                        Some(_) => 3,
                        None => 0,
                    });
                    sum.set_nanos(sum.nanos().checked_add(nanos)?)?;
                    Some(sum)
                }
                _ => self.plus_nanos(nanos),
            };
        }
        let whole = amount.to_i64()?;
        match unit {
            CalendarUnit::Year | CalendarUnit::Month => {
                if self.kind == TemporalKind::Time {
                    return None;
                }
                let months = match unit {
                    CalendarUnit::Year => whole.checked_mul(12)?,
                    _ => whole,
                };
                match self.precision {
                    Year => sum.year = sum.year.checked_add(months / 12)?,
                    _ => {
                        let total = (sum.year * 12 + sum.month - 1).checked_add(months)?;
                        (sum.year, sum.month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
                    }
                }
                if !(1..=9999).contains(&sum.year) {
                    return None;
                }
                sum.day = sum.day.min(month_days(sum.year, sum.month));
                Some(sum)
            }
            _ => self.plus_nanos(i128::from(whole).checked_mul(i128::from(unit.nanos()?))?),
        }
    }

    /// A length in weeks, days, hours, minutes or (of less precise values) seconds.
    fn plus_nanos(&self, nanos: i128) -> Option<Temporal> {
        use TemporalPrecision::*;
        let mut sum = self.clone();
        let day = i128::from(DAY_SECONDS * NANOS);
        let part = match self.precision {
            Year | Month => {
                let (days, count) = match self.precision {
                    Year => (365, CalendarUnit::Year),
                    _ => (30, CalendarUnit::Month),
                };
                return self.plus(&BigDecimal::from(nanos / day / days), count);
            }
            Day => day,
            Hour => i128::from(3600 * NANOS),
            Minute => i128::from(60 * NANOS),
            Second => 1,
        };
        sum.set_nanos(self.nanos().checked_add(nanos / part * part)?)?;
        Some(sum)
    }
}

impl fmt::Display for Temporal {
    /// As FHIR writes it: `2026-01`, `2026-01-31T08:00:00.000Z`, `08:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TemporalPrecision::*;
        if self.kind != TemporalKind::Time {
            write!(f, "{:04}", self.year)?;
            if self.precision >= Month {
                write!(f, "-{:02}", self.month)?;
            }
            if self.precision >= Day {
                write!(f, "-{:02}", self.day)?;
            }
            if self.precision >= Hour {
                f.write_str("T")?;
            }
        }
        if self.precision >= Hour {
            write!(f, "{:02}", self.hour)?;
        }
        if self.precision >= Minute {
            write!(f, ":{:02}", self.minute)?;
        }
        if self.precision >= Second {
            write!(f, ":{:02}", self.second)?;
        }
        if self.fraction > 0 {
            let digits = format!("{:09}", self.nano);
            write!(f, ".{}", &digits[..usize::from(self.fraction)])?;
        }
        match self.offset {
            Some(0) => f.write_str("Z"),
            Some(minutes) => write!(
                f,
                "{}{:02}:{:02}",
                if minutes < 0 { '-' } else { '+' },
                minutes.abs() / 60,
                minutes.abs() % 60
            ),
            None => Ok(()),
        }
    }
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn year_days(year: i64) -> i64 {
    365 + i64::from(is_leap(year))
}

pub(crate) fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap(year)),
        _ => 31,
    }
}

/// Days since 1970-01-01 of the proleptic Gregorian calendar; the year is counted from March, so that the leap day is its last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // The estimate is a few years off.
    let mut year = days.div_euclid(365) + 1970;
    while days_from_civil(year, 1, 1) > days {
        year -= 1;
    }
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut rest = days - days_from_civil(year, 1, 1);
    let mut month = 1;
    while rest >= month_days(year, month) {
        rest -= month_days(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Temporal {
        let (kind, text) = match text.strip_prefix('T') {
            Some(time) => (TemporalKind::Time, time),
            None => (TemporalKind::DateTime, text),
        };
        Temporal::parse(kind, text).expect(text)
    }

    #[test]
    fn reads_and_writes() {
        for text in [
            "2026",
            "2026-02",
            "2024-02-29",
            "2026-01-31T08",
            "2026-01-31T08:30",
            "2026-01-31T08:30:01",
            "2026-01-31T08:30:01.50+02:00",
            "2026-01-31T08:30:01.123456789Z",
            "2026-01-31T08:30-11:30",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        for text in [
            "",
            "26",
            "2026-13",
            "2026-02-29",
            "2026T08",
            "2026-01-31T25",
            "2026-01-31T08:60",
            "2026-01-31T08:30:01.",
            "2026-01-31T08:30:01+15:00",
            "0000",
            "2026-1-1",
            "é",
        ] {
            assert_eq!(
                Temporal::parse(TemporalKind::DateTime, text),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn orders() {
        use Ordering::*;
        for (a, b, expect) in [
            ("2026-01-01", "2026-01-02", Some(Less)),
            ("2026-01", "2026-01-02", None),
            ("2025", "2026-01-02", Some(Less)),
            ("2026-01-01T08:30:00", "2026-01-01T08:30:00.0", Some(Equal)),
            (
                "2026-01-01T08:00:00+02:00",
                "2026-01-01T06:00:00Z",
                Some(Equal),
            ),
            ("2026-01-01T08:00:00Z", "2026-01-01T08:00:00", None),
            ("2026-01-01T08:00:00Z", "2026-01-03T08:00:00", Some(Less)),
            ("2026-01-01T08:00:00Z", "2026-01-01", None),
            ("T08:00", "T09:00", Some(Less)),
        ] {
            assert_eq!(read(a).order(&read(b)), expect, "{a} {b}");
            assert_eq!(read(b).order(&read(a)), expect.map(Ordering::reverse));
        }
    }

    #[test]
    fn adds() {
        for (text, amount, unit, expect) in [
            ("2026-01-31", "1", CalendarUnit::Month, Some("2026-02-28")),
            ("2024-02-29", "1", CalendarUnit::Year, Some("2025-02-28")),
            ("2014", "24", CalendarUnit::Month, Some("2016")),
            ("2014", "23", CalendarUnit::Month, Some("2015")),
            ("2014-01", "60", CalendarUnit::Day, Some("2014-03")),
            ("2014-01-01", "-25", CalendarUnit::Hour, Some("2013-12-31")),
            (
                "2014-01-01T23",
                "90",
                CalendarUnit::Minute,
                Some("2014-01-02T00"),
            ),
            ("T23:00", "50", CalendarUnit::Hour, Some("01:00")),
            ("9999-12-31", "1", CalendarUnit::Day, None),
            (
                "9999-12-31",
                "99999999999999999999",
                CalendarUnit::Day,
                None,
            ),
            ("T10:00", "1", CalendarUnit::Month, None),
        ] {
            let amount: BigDecimal = amount.parse().unwrap();
            let sum = read(text).plus(&amount, unit).map(|t| t.to_string());
            assert_eq!(sum.as_deref(), expect, "{text} {amount} {unit:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,30}") {
            for kind in [TemporalKind::Date, TemporalKind::DateTime, TemporalKind::Time] {
                let _ = Temporal::parse(kind, &text);
            }
        }

        #[test]
        fn days_go_and_come_back(days in -719_162_i64..2_932_896) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
            prop_assert!((1..=9999).contains(&year) && day <= month_days(year, month));
        }
    }
}
