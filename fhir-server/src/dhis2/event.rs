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
