//! One counted event, read from a resource and from those it refers to.

use super::indicator::Indicator;
use super::period::Period;
use fhir_definitions::Definitions;
use fhir_model::date::{PartialDate, Precision};
use fhir_model::{Reference, ResourceKey};
use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::Value;
use std::collections::HashMap;

/// What an aggregate needs of a resource, and no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The resource's logical id: it makes the order of events total.
    pub id: String,
    /// The day at the target's place. `None`: the date is of a month or year that the period is a part of.
    pub day: Option<Date>,
    /// Microseconds since 1970 UTC; orders the events of a day.
    pub instant: i64,
    pub subject: Option<String>,
    /// `Patient.gender` of the subject.
    pub gender: Option<String>,
    /// First and last possible day of birth of the subject.
    pub born: Option<(Date, Date)>,
    /// Identifiers (system, value) of where it was, in order of preference.
    pub places: Vec<(String, String)>,
}

/// Resources read because others refer to them; `None`: it is not there.
pub type Related = HashMap<ResourceKey, Option<Value>>;

/// How the events of an indicator are read.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub definitions: &'a Definitions,
    pub indicator: &'a Indicator,
    pub period: &'a Period,
    pub utc_offset_seconds: i32,
    /// The own base; absolute references on it are local.
    pub base: Option<&'a str>,
}

/// What a resource gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    Event(Event),
    /// It happened before or after the period.
    Outside,
    /// These must be among the related resources first.
    Needs(Vec<ResourceKey>),
}

impl Reader<'_> {
    /// The event this resource is.
    pub fn read(&self, resource: &Value, related: &Related) -> Reading {
        let Some(date) = self.when(resource) else {
            return Reading::Outside;
        };
        let start = date.range;
        let offset = if date.zoned {
            i64::from(self.utc_offset_seconds) * 1_000_000
        } else {
            0
        };
        let (first, last) = (day(start.lo + offset), day(start.hi - 1 + offset));
        if last < self.period.start || self.period.end < first {
            return Reading::Outside;
        }
        let mut missing = Vec::new();
        let mut event = Event {
            id: resource["id"].as_str().unwrap_or_default().to_string(),
            day: (date.precision >= Precision::Day).then_some(first),
            instant: start.lo,
            ..Event::default()
        };
        for reference in self.references(resource, &self.indicator.subject) {
            let Some(key) = self.local(reference) else {
                continue;
            };
            event.subject = Some(key.to_string());
            match related.get(&key) {
                None => missing.push(key),
                Some(None) => {}
                Some(Some(subject)) => {
                    event.gender = subject["gender"].as_str().map(str::to_string);
                    let born = subject["birthDate"].as_str().and_then(PartialDate::parse);
                    event.born = born.map(|born| (day(born.range.lo), day(born.range.hi - 1)));
                }
            }
            break;
        }
        for way in &self.indicator.org_unit {
            self.follow(resource, way, related, &mut event.places, &mut missing);
        }
        if missing.is_empty() {
            Reading::Event(event)
        } else {
            Reading::Needs(missing)
        }
    }

    /// The date of the event: the start of a Period, the first event of a Timing.
    fn when(&self, resource: &Value) -> Option<PartialDate> {
        let parameter = self
            .definitions
            .search_parameter(&self.indicator.resource_type, &self.indicator.date)?;
        let mut nodes = Vec::new();
        parameter.program.as_ref()?.run(resource, &mut nodes);
        let node = nodes.first()?;
        let written = match node.type_name {
            "Period" => node.value.get("start").or_else(|| node.value.get("end")),
            "Timing" => node
                .value
                .pointer("/event/0")
                .or_else(|| node.value.pointer("/repeat/boundsPeriod/start")),
            _ => Some(node.value),
        };
        PartialDate::parse(written?.as_str()?)
    }

    /// Adds the identifiers at the end of the way that begins at `resource`, and the keys that must be read to go on.
    fn follow(
        &self,
        resource: &Value,
        way: &[String],
        related: &Related,
        places: &mut Vec<(String, String)>,
        missing: &mut Vec<ResourceKey>,
    ) {
        let Some((code, rest)) = way.split_first() else {
            places.extend(
                resource["identifier"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(identifier),
            );
            return;
        };
        for reference in self.references(resource, code) {
            if rest.is_empty() {
                places.extend(reference.get("identifier").and_then(identifier));
            }
            if let Some(contained) = contained(resource, reference) {
                self.follow(contained, rest, related, places, missing);
            }
            let Some(key) = self.local(reference) else {
                continue;
            };
            match related.get(&key) {
                None => missing.push(key),
                Some(None) => {}
                Some(Some(target)) => self.follow(target, rest, related, places, missing),
            }
        }
    }

    fn references<'v>(&'v self, resource: &'v Value, code: &str) -> Vec<&'v Value> {
        let mut nodes = Vec::new();
        let parameter = fhir_model::json::resource_type(resource)
            .and_then(|base| self.definitions.search_parameter(base, code));
        if let Some(program) = parameter.and_then(|parameter| parameter.program.as_ref()) {
            program.run(resource, &mut nodes);
        }
        nodes.into_iter().map(|node| node.value).collect()
    }

    fn local(&self, reference: &Value) -> Option<ResourceKey> {
        match Reference::parse(reference.get("reference")?.as_str()?, self.base) {
            Reference::Local { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// The contained resource that `#id` names.
fn contained<'v>(resource: &'v Value, reference: &Value) -> Option<&'v Value> {
    let id = reference.get("reference")?.as_str()?.strip_prefix('#')?;
    resource["contained"]
        .as_array()?
        .iter()
        .find(|inner| inner["id"] == id)
}

fn identifier(identifier: &Value) -> Option<(String, String)> {
    let system = identifier["system"].as_str().unwrap_or_default();
    Some((
        system.to_string(),
        identifier["value"].as_str()?.to_string(),
    ))
}

/// The day of a moment, in microseconds since 1970.
fn day(micros: i64) -> Date {
    Date::constant(1970, 1, 1).saturating_add(micros.div_euclid(86_400_000_000).days())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhis2::content::tests::content;
    use crate::dhis2::period::PeriodType;
    use serde_json::json;

    fn observation(date: Value) -> Value {
        let mut observation = json!({"resourceType": "Observation", "id": "o1", "subject": {"reference": "Patient/p1"},
            "encounter": {"reference": "Encounter/e1"}, "performer": [{"identifier": {"system": "s", "value": "lab"}}]});
        for (name, value) in date.as_object().unwrap() {
            observation[name] = value.clone();
        }
        observation
    }

    /// Reads the resource as an event of October 2026 at +03:00, adding what it needs from these resources.
    fn read(indicator: &str, resource: &Value, others: &[Value]) -> Reading {
        let content = content();
        let definitions = Definitions::load(&[]).unwrap();
        let period = PeriodType::Monthly.parse("202610").unwrap();
        let reader = Reader {
            definitions: &definitions,
            indicator: &content.indicators[indicator],
            period: &period,
            utc_offset_seconds: 3 * 3600,
            base: Some("http://server/fhir"),
        };
        let mut related = Related::new();
        for _ in 0..5 {
            match reader.read(resource, &related) {
                Reading::Needs(keys) => related.extend(keys.into_iter().map(|key| {
                    let found = others.iter().find(|other| {
                        other["resourceType"] == key.resource_type.as_str()
                            && other["id"] == key.id.as_str()
                    });
                    (key, found.cloned())
                })),
                reading => return reading,
            }
        }
        panic!("needs ever more");
    }

    fn check(indicator: &str, resource: &Value, others: &[Value], expect: &str) {
        let found = match read(indicator, resource, others) {
            Reading::Event(event) => {
                let day = event.day.map_or("-".into(), |day| day.to_string());
                let born = event
                    .born
                    .map_or("-".into(), |(first, last)| format!("{first}..{last}"));
                let places: Vec<String> = event
                    .places
                    .iter()
                    .map(|(system, value)| format!("{system}|{value}"))
                    .collect();
                format!(
                    "{day} {} {} {born} {}",
                    event.subject.as_deref().unwrap_or("-"),
                    event.gender.as_deref().unwrap_or("-"),
                    places.join(",")
                )
            }
            Reading::Outside => "outside".into(),
            Reading::Needs(_) => "needs".into(),
        };
        assert_eq!(found, expect, "{resource}");
    }

    #[test]
    fn days() {
        for (date, expect) in [
            (json!({"effectiveDateTime": "2026-10-31"}), "2026-10-31"),
            (
                json!({"effectiveDateTime": "2026-10-31T20:59:59Z"}),
                "2026-10-31",
            ),
            (
                json!({"effectiveDateTime": "2026-10-31T21:00:00Z"}),
                "outside",
            ),
            (
                json!({"effectiveDateTime": "2026-09-30T23:30:00+02:00"}),
                "2026-10-01",
            ),
            (
                json!({"effectiveInstant": "2026-10-05T10:00:00.000Z"}),
                "2026-10-05",
            ),
            (
                json!({"effectivePeriod": {"start": "2026-10-31T12:00:00Z", "end": "2026-11-02"}}),
                "2026-10-31",
            ),
            (
                json!({"effectivePeriod": {"end": "2026-10-02"}}),
                "2026-10-02",
            ),
            (
                json!({"effectiveTiming": {"event": ["2026-10-02"]}}),
                "2026-10-02",
            ),
            (json!({"effectiveDateTime": "2026-10"}), "-"),
            (json!({"effectiveDateTime": "2026"}), "-"),
            (json!({"effectiveDateTime": "2025"}), "outside"),
            (json!({}), "outside"),
            (
                json!({"effectiveDateTime": "9999-12-31T23:59:59Z"}),
                "outside",
            ),
            (json!({"effectiveDateTime": "yesterday"}), "outside"),
        ] {
            let expect = match expect {
                "outside" => expect.to_string(),
                day => format!("{day} Patient/p1 - - s|lab"),
            };
            check("malaria-rdt-done", &observation(date), &[], &expect);
        }
    }

    #[test]
    fn who_and_where() {
        let resource = observation(json!({"effectiveDateTime": "2026-10-31"}));
        let patient = json!({"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "2020-02"});
        let encounter = json!({"resourceType": "Encounter", "id": "e1", "serviceProvider": {"reference": "http://server/fhir/Organization/f1"}});
        let organization = json!({"resourceType": "Organization", "id": "f1", "identifier": [{"system": "urn:dhis2:org-unit", "value": "OU"}, {"value": "x"}]});
        let all =
            "2026-10-31 Patient/p1 female 2020-02-01..2020-02-29 urn:dhis2:org-unit|OU,|x,s|lab";
        check(
            "malaria-rdt-done",
            &resource,
            &[patient.clone(), encounter.clone(), organization],
            all,
        );
        // The organization is not here: the other way to a place is left.
        check(
            "malaria-rdt-done",
            &resource,
            &[patient, encounter],
            "2026-10-31 Patient/p1 female 2020-02-01..2020-02-29 s|lab",
        );

        let visit = json!({"resourceType": "Encounter", "id": "e2", "actualPeriod": {"start": "2026-10-01T06:00:00Z"},
            "contained": [{"resourceType": "Organization", "id": "c", "identifier": [{"system": "s", "value": "inside"}]}],
            "serviceProvider": {"reference": "#c", "identifier": {"system": "s", "value": "named"}},
            "location": [{"location": {"identifier": {"system": "s", "value": "ward"}}}]});
        check(
            "outpatient-visits",
            &visit,
            &[],
            "2026-10-01 - - - s|named,s|inside,s|ward",
        );
        let loops = json!({"resourceType": "Encounter", "id": "e3", "actualPeriod": {"start": "2026-10-01"}, "subject": {"reference": "https://elsewhere/fhir/Patient/1"},
            "serviceProvider": {"reference": "#"}});
        check("outpatient-visits", &loops, &[], "2026-10-01 - - - ");
    }
}
