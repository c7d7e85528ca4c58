//! The search document: what a resource can be found by. A pure function of the definitions and the resource.

use fhir_definitions::{Definitions, ParameterKey};
use fhir_model::{DateRange, Decimal, ResourceKey};
use serde_json::Value;

/// Everything both engines index of one resource. All lists are sorted and free of duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchDocument {
    /// Hashes of [`crate::token`]: tokens in their four forms, exact strings, uris, foreign references, identifiers of references,
    /// and one presence marker per parameter that has a value.
    pub tokens: Vec<i64>,
    /// References to resources of this server.
    pub references: Vec<ReferenceEntry>,
    pub dates: Vec<DateEntry>,
    pub quantities: Vec<QuantityEntry>,
    pub strings: Vec<StringEntry>,
}

/// A reference by which another resource can be reached, whether or not it exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReferenceEntry {
    pub key: ParameterKey,
    pub target: ResourceKey,
}

/// A time covered, in microseconds since 1970 UTC, half open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateEntry {
    pub key: ParameterKey,
    /// 0; in a composite the hash of the other components ([`crate::token::Hashes::composite`]).
    pub marker: i64,
    pub lo: i64,
    pub hi: i64,
}

/// A number or quantity. `lo` and `hi` are equal unless it is a Range, or a comparator (`<`, `>=`, …) leaves a side open; `None` is no
/// bound.
///
/// A quantity has one entry per way to ask for it, so that one index serves all: `unit` is 0 (any unit, also of plain numbers), the
/// hash of system and code, of the code, and of the written unit where that differs ([`crate::token::Hashes::unit_match`]). In a composite
/// it is the hash of the other components and of one of these units: `composite(key, [others…, unit])`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuantityEntry {
    pub key: ParameterKey,
    pub unit: i64,
    pub lo: Option<Decimal>,
    pub hi: Option<Decimal>,
}

/// A string, normalised and cut at [`STRING_MAX`] characters. In a composite the hash of the other components stands in front, as 16
/// hexadecimal digits, so that starts-with finds both at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StringEntry {
    pub key: ParameterKey,
    pub value: String,
}

/// Longest indexed string, in characters; a match on a longer one is checked on the body.
pub const STRING_MAX: usize = 256;

/// Extracts the search document. `base` is the server's own base without a trailing slash: absolute references on it are local.
pub fn search_document(
    definitions: &Definitions,
    resource: &Value,
    base: Option<&str>,
) -> SearchDocument {
    let _ = (definitions, resource, base, DateRange::MIN);
    SearchDocument::default()
}

/// The stored hashes that a condition on the resource's identifiers could ask for, sorted: what a write of the resource locks, so that
/// it and a conditional write on the same identity wait for each other.
pub fn identity_atoms(definitions: &Definitions, resource: &Value, base: Option<&str>) -> Vec<i64> {
    let _ = (definitions, resource, base);
    Vec::new()
}
