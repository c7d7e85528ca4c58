//! Events to figures. Nothing is lost on the way: facts = the sum of the cells + the sum of what was not counted, each with its reason.

use super::data_set::{Cell, OrgUnits};
use super::dimension::Dimension;
use super::event::Event;
use super::indicator::Count;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What became of the events of one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tabulation {
    /// Events looked at.
    pub facts: u64,
    /// By org unit, then by category option combo.
    pub counts: BTreeMap<String, BTreeMap<Option<String>, u64>>,
    pub not_counted: BTreeMap<NotCounted, u64>,
}

/// Why an event is in no cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotCounted {
    /// Its date names no day.
    ImpreciseDate,
    /// Persons are counted and it is nobody's.
    NoSubject,
    /// Its place is no org unit, or is not known.
    NoOrgUnit,
    /// This dimension has no option for it, or what decides is not known.
    NoOption(String),
    /// Persons are counted and this one was before.
    Repeated,
}

impl NotCounted {
    /// In words, for reports.
    pub fn reason(&self) -> String {
        match self {
            NotCounted::ImpreciseDate => "the date names no day".into(),
            NotCounted::NoSubject => "no subject".into(),
            NotCounted::NoOrgUnit => "no org unit".into(),
            NotCounted::NoOption(dimension) => format!("no option of {dimension}"),
            NotCounted::Repeated => "the person was counted before".into(),
        }
    }
}

/// Counts the events into the cell.
pub fn tabulate(
    cell: &Cell,
    count: Count,
    dimensions: &BTreeMap<String, Dimension>,
    org_units: &OrgUnits,
    events: &[Event],
) -> Tabulation {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_unstable_by_key(|event| (event.instant, &event.id));
    let mut tabulation = Tabulation {
        facts: events.len() as u64,
        ..Tabulation::default()
    };
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for event in events {
        let place =
            allocate(cell, count, dimensions, org_units, event).and_then(|(org_unit, combo)| {
                match &event.subject {
                    Some(subject)
                        if count == Count::Subjects && !seen.insert((org_unit, subject)) =>
                    {
                        Err(NotCounted::Repeated)
                    }
                    _ => Ok((org_unit, combo)),
                }
            });
        match place {
            Ok((org_unit, combo)) => {
                let row = tabulation.counts.entry(org_unit.to_string()).or_default();
                *row.entry(combo.cloned()).or_default() += 1;
            }
            Err(reason) => *tabulation.not_counted.entry(reason).or_default() += 1,
        }
    }
    tabulation
}

/// The org unit and category option combo of an event.
fn allocate<'a>(
    cell: &'a Cell,
    count: Count,
    dimensions: &'a BTreeMap<String, Dimension>,
    org_units: &'a OrgUnits,
    event: &'a Event,
) -> Result<(&'a str, Option<&'a String>), NotCounted> {
    if event.day.is_none() {
        return Err(NotCounted::ImpreciseDate);
    }
    if count == Count::Subjects && event.subject.is_none() {
        return Err(NotCounted::NoSubject);
    }
    let org_unit = org_units
        .resolve(&event.places)
        .ok_or(NotCounted::NoOrgUnit)?;
    let options = cell.by.iter().map(|id| {
        let option = dimensions
            .get(id)
            .and_then(|dimension| dimension.option(event));
        option
            .map(str::to_string)
            .ok_or_else(|| NotCounted::NoOption(id.clone()))
    });
    let options: Vec<String> = options.collect::<Result<_, _>>()?;
    let combo = cell
        .category_option_combos
        .get(&options)
        .expect("loading checked that every combination has a combo");
    Ok((org_unit, combo.as_ref()))
}

impl Tabulation {
    /// The org units that have a figure.
    pub fn org_units(&self) -> BTreeSet<&str> {
        self.counts.keys().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhis2::dimension::{AgeUnit, Band};
    use jiff::civil::date;
    use proptest::prelude::*;

    fn dimensions() -> BTreeMap<String, Dimension> {
        let sex = Dimension::Gender(
            [
                ("female".to_string(), "f".to_string()),
                ("male".to_string(), "m".to_string()),
            ]
            .into(),
        );
        let band = |option: &str, from, below| Band {
            option: option.into(),
            from,
            below,
        };
        let age = Dimension::Age {
            unit: AgeUnit::Years,
            bands: vec![band("u5", 0, 5), band("o5", 5, i64::MAX)],
        };
        [("sex".to_string(), sex), ("age".to_string(), age)].into()
    }

    fn cell(by: &[&str], combos: &[&str]) -> Cell {
        Cell {
            data_element: "DE".into(),
            indicator: "i".into(),
            by: by.iter().map(|id| id.to_string()).collect(),
            category_option_combos: combos
                .iter()
                .map(|options| {
                    (
                        options
                            .split(' ')
                            .filter(|o| !o.is_empty())
                            .map(str::to_string)
                            .collect(),
                        Some(options.to_string()),
                    )
                })
                .collect(),
        }
    }

    fn org_units() -> OrgUnits {
        OrgUnits {
            map: [
                ("facility|A", "OU_A"),
                ("ward|", "OU_B"),
                ("ward|1", "OU_A"),
            ]
            .map(|(key, org_unit)| (key.to_string(), org_unit.to_string()))
            .into(),
            identifier_system: Some("urn:ou".into()),
            otherwise: None,
        }
    }

    /// `id day gender birth-year subject place`, `-` for what is not known.
    fn event(line: &str) -> Event {
        let part: Vec<Option<&str>> = line
            .split(' ')
            .map(|text| Some(text).filter(|text| *text != "-"))
            .collect();
        Event {
            id: part[0].unwrap().into(),
            day: part[1].map(|day| date(2026, 10, day.parse().unwrap())),
            instant: part[1].map_or(0, |day| day.parse().unwrap()),
            gender: part[2].map(str::to_string),
            born: part[3]
                .map(|year| year.parse().unwrap())
                .map(|year| (date(year, 1, 1), date(year, 1, 1))),
            subject: part[4].map(str::to_string),
            places: part[5]
                .and_then(|place| place.split_once('|'))
                .map(|(s, v)| (s.to_string(), v.to_string()))
                .into_iter()
                .collect(),
        }
    }

    fn check(cell: &Cell, count: Count, events: &[&str], expect: &str) {
        let events: Vec<Event> = events.iter().map(|line| event(line)).collect();
        let found = tabulate(cell, count, &dimensions(), &org_units(), &events);
        let counts = found.counts.iter().flat_map(|(ou, row)| {
            row.iter().map(move |(combo, n)| {
                format!("{ou}[{}]={n}", combo.as_deref().unwrap_or_default())
            })
        });
        let rejects = found
            .not_counted
            .iter()
            .map(|(reason, n)| format!("{}={n}", reason.reason()));
        assert_eq!(counts.chain(rejects).collect::<Vec<_>>().join("; "), expect);
    }

    #[test]
    fn counts() {
        let total = cell(&[], &[""]);
        let split = cell(&["sex", "age"], &["f u5", "f o5", "m u5", "m o5"]);
        let events = [
            "1 3 female 2024 p1 facility|A",
            "2 1 female 2024 p1 facility|A",
            "3 3 male 1990 p2 urn:ou|OU_B",
            "4 - male 1990 p2 facility|A",
            "5 3 other 1990 p3 facility|A",
            "6 3 male - p4 facility|A",
            "7 3 male 1990 p2 other|A",
            "9 3 male 1990 p5 ward|1",
            "10 3 male 1990 p5 ward|2",
            "8 4 male 1990 - facility|A",
        ];
        check(
            &total,
            Count::Resources,
            &events,
            "OU_A[]=6; OU_B[]=2; the date names no day=1; no org unit=1",
        );
        check(
            &total,
            Count::Subjects,
            &events,
            "OU_A[]=4; OU_B[]=2; the date names no day=1; no subject=1; no org unit=1; the person was counted before=1",
        );
        check(
            &split,
            Count::Resources,
            &events,
            "OU_A[f u5]=2; OU_A[m o5]=2; OU_B[m o5]=2; the date names no day=1; no org unit=1; no option of age=1; no option of sex=1",
        );
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let line = (
            0..50u32,
            prop_oneof!["-", "[1-9]"],
            "female|male|other|-",
            "1990|2024|2025|2027|-",
            "p[0-9]|-",
            "facility\\|[AB]|urn:ou\\|X|-",
        );
        line.prop_map(|(id, day, gender, year, subject, place)| {
            event(&format!("{id} {day} {gender} {year} {subject} {place}"))
        })
    }

    proptest! {
        /// No event is lost or counted twice, and the order they come in does not matter.
        #[test]
        fn totals_reconcile(mut events in proptest::collection::vec(any_event(), 0..60), subjects: bool) {
            let count = if subjects { Count::Subjects } else { Count::Resources };
            for cell in [cell(&[], &[""]), cell(&["sex", "age"], &["f u5", "f o5", "m u5", "m o5"])] {
                let found = tabulate(&cell, count, &dimensions(), &org_units(), &events);
                let counted: u64 = found.counts.values().flat_map(BTreeMap::values).sum();
                prop_assert_eq!(found.facts, counted + found.not_counted.values().sum::<u64>());
                prop_assert_eq!(found.facts, events.len() as u64);
                if !subjects {
                    prop_assert!(!found.not_counted.contains_key(&NotCounted::Repeated));
                }
                events.reverse();
                let reversed = tabulate(&cell, count, &dimensions(), &org_units(), &events);
                prop_assert_eq!(found.not_counted.values().sum::<u64>(), reversed.not_counted.values().sum::<u64>());
            }
        }
    }
}
