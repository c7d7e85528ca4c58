//! DHIS2 periods: their ids, and the days they cover.
//!
//! Source: <https://docs.dhis2.org/en/develop/using-the-api/dhis-core-version-master/introduction.html#webapi_date_perid_format> and
//! the server's own parser, which differs from its documents and from its JavaScript library for the types that begin in November:
//! the server names those by the year in which they end. Refused: the 27th bi-week (server and library disagree about it), and
//! calendars other than ISO 8601.

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};
use serde::Deserialize;

/// `DataSet.periodType`, under DHIS2's own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum PeriodType {
    Daily,
    Weekly,
    WeeklyWednesday,
    WeeklyThursday,
    WeeklyFriday,
    WeeklySaturday,
    WeeklySunday,
    BiWeekly,
    Monthly,
    BiMonthly,
    Quarterly,
    QuarterlyNov,
    SixMonthly,
    SixMonthlyApril,
    SixMonthlyNov,
    Yearly,
    FinancialFeb,
    FinancialApril,
    FinancialJuly,
    FinancialAug,
    FinancialSep,
    FinancialOct,
    FinancialNov,
}

/// One period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// DHIS2's id in its normal form: `202610`, `2026W5`, `2026Q1`.
    pub id: String,
    /// First day.
    pub start: Date,
    /// Last day.
    pub end: Date,
}

/// How a type divides time.
enum Division {
    Days,
    /// Weeks, or pairs of weeks, from this weekday; the mark stands between year and number.
    Weeks {
        first: Weekday,
        count: i64,
        mark: &'static str,
    },
    /// Equal parts of the twelve months from `first` (1 = January).
    Months {
        first: i8,
        count: i8,
        mark: &'static str,
    },
}

/// Years that are understood.
const YEARS: std::ops::RangeInclusive<i16> = 1900..=2200;

impl PeriodType {
    /// The period of this id. `2026-10`, `2026-10-31` and `2026W05` are taken for `202610`, `20261031` and `2026W5`. `None`: it is no
    /// id of this type.
    pub fn parse(self, text: &str) -> Option<Period> {
        let year: i16 = number(text.get(..4)?)?;
        let rest = &text[4..];
        if !YEARS.contains(&year) {
            return None;
        }
        match self.division() {
            Division::Days => {
                let digits = match rest.strip_prefix('-') {
                    Some(dashed) => dashed.replacen('-', "", 1),
                    None => rest.to_string(),
                };
                let (month, day) = (digits.get(..2)?, digits.get(2..).filter(|d| d.len() == 2)?);
                let date = Date::new(year, number(month)?, number(day)?).ok()?;
                self.containing(date)
            }
            Division::Weeks { first, count, mark } => {
                let index: i64 =
                    number(rest.strip_prefix(mark)?).filter(|index| (1..=53).contains(index))?;
                let start = week_one(year, first) + (7 * count * (index - 1)).days();
                // A 53rd week that the year does not have is the first of the next.
                self.containing(start)
                    .filter(|period| period.id == format!("{year}{mark}{index}"))
            }
            Division::Months { first, count, mark } => {
                let index: i8 = match self {
                    PeriodType::Monthly => number(rest.strip_prefix('-').unwrap_or(rest))
                        .filter(|_| rest.trim_start_matches('-').len() == 2)?,
                    PeriodType::BiMonthly => number(rest.strip_suffix(mark)?)?,
                    _ if count == 12 => (rest == mark).then_some(1)?,
                    _ => {
                        number(rest.strip_prefix(mark)?).filter(|_| rest.len() == mark.len() + 1)?
                    }
                };
                (1..=12 / count).contains(&index).then_some(())?;
                let first_year = if first == 11 { year - 1 } else { year };
                let start = Date::new(first_year, first, 1).ok()?
                    + (i32::from(count) * (i32::from(index) - 1)).months();
                self.containing(start)
            }
        }
    }

    /// The period this day is in. `None`: the 53rd week of a year is in no bi-week.
    pub fn containing(self, day: Date) -> Option<Period> {
        let period = match self.division() {
            Division::Days => Period {
                id: day.strftime("%Y%m%d").to_string(),
                start: day,
                end: day,
            },
            Division::Weeks { first, count, mark } => {
                let year = [day.year() + 1, day.year()]
                    .into_iter()
                    .find(|year| week_one(*year, first) <= day)
                    .unwrap_or(day.year() - 1);
                let origin = week_one(year, first);
                let weeks = i64::from((day - origin).get_days()) / 7;
                let index = weeks / count;
                if count == 2 && index == 26 {
                    return None;
                }
                let start = origin + (7 * count * index).days();
                Period {
                    id: format!("{year}{mark}{}", index + 1),
                    start,
                    end: start + (7 * count - 1).days(),
                }
            }
            Division::Months { first, count, mark } => {
                let months = i32::from(day.year()) * 12 + i32::from(day.month()) - i32::from(first);
                let (year, index) = (
                    months.div_euclid(12),
                    months.rem_euclid(12) / i32::from(count),
                );
                let start =
                    day.first_of_month() - (months.rem_euclid(12) % i32::from(count)).months();
                let year = if first == 11 { year + 1 } else { year };
                let number = index + 1;
                Period {
                    id: match self {
                        PeriodType::Monthly | PeriodType::BiMonthly => {
                            format!("{year}{number:02}{mark}")
                        }
                        _ if count == 12 => format!("{year}{mark}"),
                        _ => format!("{year}{mark}{number}"),
                    },
                    start,
                    end: start + i32::from(count).months() - 1.day(),
                }
            }
        };
        Some(period)
    }

    fn division(self) -> Division {
        let weeks = |first, mark| Division::Weeks {
            first,
            count: 1,
            mark,
        };
        let months = |first, count, mark| Division::Months { first, count, mark };
        match self {
            PeriodType::Daily => Division::Days,
            PeriodType::Weekly => weeks(Weekday::Monday, "W"),
            PeriodType::WeeklyWednesday => weeks(Weekday::Wednesday, "WedW"),
            PeriodType::WeeklyThursday => weeks(Weekday::Thursday, "ThuW"),
            PeriodType::WeeklyFriday => weeks(Weekday::Friday, "FriW"),
            PeriodType::WeeklySaturday => weeks(Weekday::Saturday, "SatW"),
            PeriodType::WeeklySunday => weeks(Weekday::Sunday, "SunW"),
            PeriodType::BiWeekly => Division::Weeks {
                first: Weekday::Monday,
                count: 2,
                mark: "BiW",
            },
            PeriodType::Monthly => months(1, 1, ""),
            PeriodType::BiMonthly => months(1, 2, "B"),
            PeriodType::Quarterly => months(1, 3, "Q"),
            PeriodType::QuarterlyNov => months(11, 3, "NovQ"),
            PeriodType::SixMonthly => months(1, 6, "S"),
            PeriodType::SixMonthlyApril => months(4, 6, "AprilS"),
            PeriodType::SixMonthlyNov => months(11, 6, "NovS"),
            PeriodType::Yearly => months(1, 12, ""),
            PeriodType::FinancialFeb => months(2, 12, "Feb"),
            PeriodType::FinancialApril => months(4, 12, "April"),
            PeriodType::FinancialJuly => months(7, 12, "July"),
            PeriodType::FinancialAug => months(8, 12, "Aug"),
            PeriodType::FinancialSep => months(9, 12, "Sep"),
            PeriodType::FinancialOct => months(10, 12, "Oct"),
            PeriodType::FinancialNov => months(11, 12, "Nov"),
        }
    }
}

/// The first day of week 1: of the week, beginning on `first`, that holds 4 January. For other days than Monday this is not the ISO week.
fn week_one(year: i16, first: Weekday) -> Date {
    let fourth = Date::constant(year, 1, 4);
    fourth - i64::from(first.until(fourth.weekday())).days()
}

/// Decimal digits only; `parse` alone would take a sign.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use PeriodType::*;
    use proptest::prelude::*;

    const TYPES: [PeriodType; 23] = [
        Daily,
        Weekly,
        WeeklyWednesday,
        WeeklyThursday,
        WeeklyFriday,
        WeeklySaturday,
        WeeklySunday,
        BiWeekly,
        Monthly,
        BiMonthly,
        Quarterly,
        QuarterlyNov,
        SixMonthly,
        SixMonthlyApril,
        SixMonthlyNov,
        Yearly,
        FinancialFeb,
        FinancialApril,
        FinancialJuly,
        FinancialAug,
        FinancialSep,
        FinancialOct,
        FinancialNov,
    ];

    fn check(kind: PeriodType, text: &str, expect: &str) {
        let found = kind
            .parse(text)
            .map_or("-".into(), |p| format!("{} {} {}", p.id, p.start, p.end));
        assert_eq!(found, expect, "{kind:?} {text}");
    }

    #[test]
    fn ids() {
        for (kind, text, expect) in [
            (Daily, "20260131", "20260131 2026-01-31 2026-01-31"),
            (Daily, "2026-01-31", "20260131 2026-01-31 2026-01-31"),
            (Daily, "20260230", "-"),
            (Weekly, "2026W5", "2026W5 2026-01-26 2026-02-01"),
            (Weekly, "2026W05", "2026W5 2026-01-26 2026-02-01"),
            (Weekly, "2026W53", "2026W53 2026-12-28 2027-01-03"),
            (Weekly, "2025W53", "-"),
            (Weekly, "2026W0", "-"),
            (Weekly, "2026W99999999999", "-"),
            (Weekly, "2026WedW5", "-"),
            (
                WeeklyWednesday,
                "2026WedW5",
                "2026WedW5 2026-01-28 2026-02-03",
            ),
            (WeeklySunday, "2026SunW1", "2026SunW1 2026-01-04 2026-01-10"),
            (BiWeekly, "2026BiW1", "2026BiW1 2025-12-29 2026-01-11"),
            (BiWeekly, "2026BiW27", "-"),
            (Monthly, "202610", "202610 2026-10-01 2026-10-31"),
            (Monthly, "2026-10", "202610 2026-10-01 2026-10-31"),
            (Monthly, "2026-1", "-"),
            (Monthly, "2026--10", "-"),
            (Monthly, "202613", "-"),
            (Monthly, "202600", "-"),
            (Monthly, "+02610", "-"),
            (BiMonthly, "202602B", "202602B 2026-03-01 2026-04-30"),
            (BiMonthly, "202607B", "-"),
            (Quarterly, "2026Q4", "2026Q4 2026-10-01 2026-12-31"),
            (Quarterly, "2026Q5", "-"),
            (QuarterlyNov, "2020NovQ1", "2020NovQ1 2019-11-01 2020-01-31"),
            (QuarterlyNov, "2020NovemberQ1", "-"),
            (SixMonthly, "2026S2", "2026S2 2026-07-01 2026-12-31"),
            (
                SixMonthlyApril,
                "2026AprilS2",
                "2026AprilS2 2026-10-01 2027-03-31",
            ),
            (
                SixMonthlyNov,
                "2020NovS1",
                "2020NovS1 2019-11-01 2020-04-30",
            ),
            (Yearly, "2024", "2024 2024-01-01 2024-12-31"),
            (
                FinancialApril,
                "2019April",
                "2019April 2019-04-01 2020-03-31",
            ),
            (FinancialNov, "2020Nov", "2020Nov 2019-11-01 2020-10-31"),
            (FinancialFeb, "2026Feb", "2026Feb 2026-02-01 2027-01-31"),
            (Yearly, "2024é", "-"),
            (Yearly, "", "-"),
        ] {
            check(kind, text, expect);
        }
    }

    /// First and last weeks of 2015 to 2030 and the longer periods of two years, as DHIS2's own library for calendars gives them.
    #[test]
    fn as_dhis2_has_them() {
        let table = include_str!("../../tests/data/dhis2-periods.tsv");
        for line in table.lines() {
            let (kind, row) = line.split_once('\t').unwrap();
            let kind = TYPES
                .into_iter()
                .find(|k| format!("{k:?}") == kind)
                .unwrap();
            check(
                kind,
                row.split('\t').next().unwrap(),
                &row.replace('\t', " "),
            );
        }
    }

    proptest! {
        /// Every day is in one period, whose id names it again.
        #[test]
        fn day_to_period_to_id(days in -20_000i64..80_000) {
            let day = Date::constant(1970, 1, 1) + days.days();
            for kind in TYPES {
                if let Some(period) = kind.containing(day) {
                    prop_assert!(period.start <= day && day <= period.end, "{kind:?} {day} {period:?}");
                    prop_assert_eq!(kind.parse(&period.id), Some(period.clone()));
                    if let Some(next) = kind.containing(period.end + 1.day()) {
                        prop_assert_eq!(next.start, period.end + 1.day());
                    }
                } else {
                    prop_assert_eq!(kind, BiWeekly);
                }
            }
        }

        #[test]
        fn any_text(text in "\\PC{0,12}") {
            for kind in TYPES {
                let _ = kind.parse(&text);
            }
        }
    }
}
