//! What divides an indicator: `dimensions/*.yaml`. By gender, or by age at the event.

use super::content::Source;
use super::event::Event;
use fhir_definitions::DataError;
use jiff::civil::Date;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

/// A dimension, checked: its options are disjoint.
#[derive(Clone, Debug)]
pub enum Dimension {
    /// `Patient.gender` code -> option.
    Gender(BTreeMap<String, String>),
    Age {
        unit: AgeUnit,
        bands: Vec<Band>,
    },
}

/// Completed units of time from birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgeUnit {
    Days,
    Weeks,
    Months,
    Years,
}

/// An age band: `from` is in it, `below` is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    pub option: String,
    pub from: i64,
    pub below: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum DimensionFile {
    Gender(BTreeMap<String, Vec<Spanned<String>>>),
    Age(AgeFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgeFile {
    unit: AgeUnit,
    bands: BTreeMap<String, Spanned<BandFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BandFile {
    from: Option<u32>,
    below: Option<u32>,
}

impl Dimension {
    /// # Errors
    /// One per problem.
    pub fn read(source: &Source<'_>) -> Result<Dimension, Vec<DataError>> {
        let mut errors = Vec::new();
        let dimension = match source.parse()? {
            DimensionFile::Gender(options) => {
                let mut by_code = BTreeMap::new();
                for (option, codes) in options {
                    for code in codes {
                        if by_code.insert(code.value.clone(), option.clone()).is_some() {
                            errors.push(source.at(&code, "this gender is in two options"));
                        }
                    }
                }
                Dimension::Gender(by_code)
            }
            DimensionFile::Age(age) => {
                let mut bands: Vec<Band> = Vec::new();
                for (option, file) in age.bands {
                    let band = Band {
                        option,
                        from: file.value.from.unwrap_or(0).into(),
                        below: file.value.below.map_or(i64::MAX, i64::from),
                    };
                    if band.from >= band.below {
                        errors.push(source.at(&file, "no age is in this band"));
                    }
                    if bands
                        .iter()
                        .any(|other| band.from < other.below && other.from < band.below)
                    {
                        errors.push(source.at(&file, "this band overlaps another one"));
                    }
                    bands.push(band);
                }
                Dimension::Age {
                    unit: age.unit,
                    bands,
                }
            }
        };
        if errors.is_empty() {
            Ok(dimension)
        } else {
            Err(errors)
        }
    }

    /// The names of the options, each once.
    pub fn options(&self) -> Vec<&str> {
        let mut options: Vec<&str> = match self {
            Dimension::Gender(by_code) => by_code.values().map(String::as_str).collect(),
            Dimension::Age { bands, .. } => bands.iter().map(|band| band.option.as_str()).collect(),
        };
        options.sort_unstable();
        options.dedup();
        options
    }

    /// The option an event belongs to; `None`: what decides is not known, or no option covers it.
    pub fn option(&self, event: &Event) -> Option<&str> {
        match self {
            Dimension::Gender(by_code) => by_code.get(event.gender.as_deref()?).map(String::as_str),
            Dimension::Age { unit, bands } => {
                // A birth date to the year or month is a range: it counts where both ends are of one band.
                let (first, last) = event.born?;
                let day = event.day?;
                let band = |born| {
                    let age = completed(*unit, born, day)?;
                    bands
                        .iter()
                        .find(|band| (band.from..band.below).contains(&age))
                };
                // Who was born in the year of the event was born before the event.
                let (oldest, youngest) = (band(first)?, band(last.min(day))?);
                (oldest == youngest).then_some(&oldest.option)
            }
        }
    }
}

/// Whole units from birth to the day; `None` before birth. Who was born on 29 February or on a 31st has the birthday on the first of
/// the next month where there is no such day.
fn completed(unit: AgeUnit, born: Date, day: Date) -> Option<i64> {
    let days = i64::from((day - born).get_days());
    let months = (i64::from(day.year()) - i64::from(born.year())) * 12 + i64::from(day.month())
        - i64::from(born.month())
        - i64::from(day.day() < born.day());
    let age = match unit {
        AgeUnit::Days => days,
        AgeUnit::Weeks => days / 7,
        AgeUnit::Months => months,
        AgeUnit::Years => months / 12,
    };
    (days >= 0).then_some(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        for (unit, born, day, expect) in [
            (AgeUnit::Years, "2020-10-15", "2025-10-14", Some(4)),
            (AgeUnit::Years, "2020-10-15", "2025-10-15", Some(5)),
            (AgeUnit::Years, "2020-02-29", "2021-02-28", Some(0)),
            (AgeUnit::Years, "2020-02-29", "2021-03-01", Some(1)),
            (AgeUnit::Months, "2025-01-31", "2025-02-28", Some(0)),
            (AgeUnit::Months, "2025-01-31", "2025-03-01", Some(1)),
            (AgeUnit::Days, "2025-01-01", "2025-01-29", Some(28)),
            (AgeUnit::Weeks, "2025-01-01", "2025-01-14", Some(1)),
            (AgeUnit::Days, "2025-01-02", "2025-01-01", None),
        ] {
            assert_eq!(
                completed(unit, date(born), date(day)),
                expect,
                "{unit:?} {born} {day}"
            );
        }
    }

    #[test]
    fn options() {
        let age = Dimension::Age {
            unit: AgeUnit::Years,
            bands: vec![
                Band {
                    option: "under5".into(),
                    from: 0,
                    below: 5,
                },
                Band {
                    option: "over5".into(),
                    from: 5,
                    below: 120,
                },
            ],
        };
        let sex = Dimension::Gender([("female".to_string(), "f".to_string())].into());
        let date = |text: &str| text.parse::<Date>().unwrap();
        for (gender, born, expect_sex, expect_age) in [
            ("female", "2021-10-10 2021-10-10", Some("f"), Some("under5")),
            ("male", "2020-01-01 2020-12-31", None, Some("over5")),
            // 4 or 5 on that day: not known
            ("other", "2021-01-01 2021-12-31", None, None),
            ("female", "2026-01-01 2026-12-31", Some("f"), Some("under5")),
            ("female", "1900-01-01 1900-01-01", Some("f"), None),
            ("female", "2027-01-01 2027-01-01", Some("f"), None),
        ] {
            let (first, last) = born.split_once(' ').unwrap();
            let event = Event {
                gender: Some(gender.into()),
                born: Some((date(first), date(last))),
                day: Some(date("2026-10-09")),
                ..Event::default()
            };
            assert_eq!(
                (sex.option(&event), age.option(&event)),
                (expect_sex, expect_age),
                "{gender} {born}"
            );
        }
    }
}
