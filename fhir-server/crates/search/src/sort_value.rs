//! What a resource is sorted by, read from the resource itself, as engines have it in columns: of several values the smallest counts ascending,
//! the largest descending.

use crate::coding;
use crate::document::{QuantityEntry, StringEntry};
use crate::matching::Candidate;
use crate::parse_sort::Family;
use crate::query::{SortBy, SortKey};
use crate::reference;
use crate::unit::Unit;
use fhir_definitions::{ParameterType, SearchParameter};
use fhir_model::Decimal;
use fhir_model::key::is_id;
use fhir_model::reference::is_type_name;
use fhirpath::Node;
use serde_json::Value;

/// One value; those of one key are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortValue {
    /// Microseconds since 1970 UTC.
    Time(i64),
    Number(Decimal),
    Text(String),
}

impl Candidate<'_> {
    /// What it is sorted by; `None` where it has nothing. Of a chain and of `_score` the resource alone does not tell.
    pub fn sort_value(&self, key: &SortKey) -> Option<SortValue> {
        let mut values = match &key.by {
            SortBy::LastUpdated => vec![SortValue::Time(self.last_updated()?.lo)],
            SortBy::Id => vec![SortValue::Text(self.key().id.clone())],
            SortBy::Parameter(parameters) => {
                self.values(parameters.iter().find(|one| self.is_of(one))?)
            }
            SortBy::Score | SortBy::Chain { .. } => Vec::new(),
        };
        values.sort_unstable();
        match key.descending {
            true => values.pop(),
            false => values.into_iter().next(),
        }
    }

    fn is_of(&self, parameter: &SearchParameter) -> bool {
        parameter.resource_type == self.key().resource_type
    }

    fn values(&self, parameter: &SearchParameter) -> Vec<SortValue> {
        let document = self.document();
        let is_of = |key| parameter.keys().any(|own| own == key);
        match Family::of(parameter.kind) {
            Some(Family::Date) => {
                let entries = document.dates.iter().filter(|entry| is_of(entry.key));
                entries.map(|entry| SortValue::Time(entry.lo)).collect()
            }
            Some(Family::Number) => {
                let entries = document.quantities.iter().filter(|entry| is_of(entry.key));
                entries.filter_map(measure).map(SortValue::Number).collect()
            }
            Some(Family::String) => {
                let is_of = |entry: &&StringEntry| {
                    let mut rows = parameter.string_rows();
                    rows.any(|rows| rows.have(entry.key, entry.parts))
                };
                let entries = document.strings.iter().filter(is_of);
                let texts = entries.map(|entry| SortValue::Text(entry.value.clone()));
                texts.collect()
            }
            Some(Family::Text) => self.texts(parameter),
            None => Vec::new(),
        }
    }

    /// Codes without regard to the case of ASCII letters, as they match.
    fn texts(&self, parameter: &SearchParameter) -> Vec<SortValue> {
        let (Some(whole), Some(program)) = (self.whole, &parameter.program) else {
            return Vec::new();
        };
        let mut nodes = Vec::new();
        program.run_within(whole.resource, whole.container.resource, &mut nodes);
        let mut texts = Vec::new();
        for node in nodes {
            match parameter.kind {
                ParameterType::Token => codes(node, &mut texts),
                ParameterType::Reference => {
                    let written = reference::written(&node).filter(|text| !text.starts_with('#'));
                    texts.extend(written.map(|text| resource_at_end(text).to_owned()));
                }
                _ => texts.extend(node.value.as_str().map(str::to_owned)),
            }
        }
        texts.into_iter().map(SortValue::Text).collect()
    }
}

/// Where it begins, else where it ends; in base units where its unit is one of UCUM.
fn measure(entry: &QuantityEntry) -> Option<Decimal> {
    let number = entry.lo.as_ref().or(entry.hi.as_ref())?;
    let unit = entry.ucum.as_deref().and_then(Unit::parse);
    Some(match unit {
        Some(unit) => unit.scale().in_base_units(number),
        None => number.clone(),
    })
}

/// `Type/id` at the end of a reference, without server and version; the text where there is none.
fn resource_at_end(text: &str) -> &str {
    let plain = text
        .split_once("/_history/")
        .map_or(text, |(plain, _)| plain);
    let mut parts = plain.rsplitn(3, '/');
    let (Some(id), Some(name)) = (parts.next(), parts.next()) else {
        return text;
    };
    match is_type_name(name) && is_id(id) {
        true => &plain[plain.len() - id.len() - name.len() - 1..],
        false => text,
    }
}

fn codes(node: Node<'_>, out: &mut Vec<String>) {
    match node.value {
        Value::Bool(value) => out.push(value.to_string()),
        _ => coding::each(node, &mut |token| {
            out.extend(token.code.map(str::to_ascii_lowercase));
        }),
    }
}
