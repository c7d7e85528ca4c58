//! References (<https://hl7.org/fhir/R5/search.html#reference>): what an element points at.
//!
//! Readings: a search without a version finds references with one; a canonical `url|version` is found by its url alone, too. What stands in `#…` is
//! not searched, an identifier in a Reference only by `:identifier`.

use crate::BASE;
use crate::elements::Element;
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;
use serde_json::Value;

/// Where a reference leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To a resource of this server, or to a version of it.
    Here(ResourceKey, Option<String>),
    /// Anywhere else.
    There(String),
}

/// Where the element leads; `None` to what it contains itself, or nowhere.
pub(crate) fn target(element: &Element, definitions: &Definitions) -> Option<Target> {
    match text(element) {
        Some(text) => (!text.starts_with('#')).then(|| address(text, definitions)),
        // A resource inside a Bundle.
        None => {
            let value = reference(element)?;
            let name = value.get("resourceType")?.as_str()?;
            let id = value.get("id")?.as_str()?;
            let known = definitions.type_number(name).is_some();
            known.then(|| Target::Here(ResourceKey::new(name, id), None))
        }
    }
}

/// The reference as it is written.
pub(crate) fn text(element: &Element) -> Option<&str> {
    match reference(element)? {
        Value::String(text) => Some(text),
        value => value.get("reference")?.as_str(),
    }
}

/// The Identifier in the Reference.
pub(crate) fn identifier(element: &Element) -> Option<&Value> {
    let identifier = reference(element)?.get("identifier")?;
    identifier.is_object().then_some(identifier)
}

/// What a text names.
pub(crate) fn address(text: &str, definitions: &Definitions) -> Target {
    let relative = text
        .strip_prefix(BASE)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(text);
    let is_id = |id: &str| {
        !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    let parts: Vec<&str> = relative.split('/').collect();
    let here = |name: &str, id: &str, version: Option<&str>| {
        let known = definitions.type_number(name).is_some() && is_id(id);
        known.then(|| Target::Here(ResourceKey::new(name, id), version.map(str::to_owned)))
    };
    let found = match parts[..] {
        [name, id] => here(name, id, None),
        [name, id, "_history", version] => here(name, id, Some(version)),
        _ => None,
    };
    found.unwrap_or_else(|| Target::There(text.to_owned()))
}

/// Whether the target goes by this address.
pub(crate) fn is_at(target: &Target, url: &str, definitions: &Definitions) -> bool {
    match target {
        Target::Here(key, version) => match address(url, definitions) {
            Target::Here(wanted, wanted_version) => {
                wanted == *key && (wanted_version.is_none() || wanted_version == *version)
            }
            Target::There(_) => false,
        },
        Target::There(text) => {
            let without = |sign: &str| text.split_once(sign).map(|(plain, _)| plain);
            text == url || without("|").or(without("/_history/")) == Some(url)
        }
    }
}

/// `:below` of a canonical: any version of it, or of the versions that begin as the one asked for does.
pub(crate) fn is_version_of(have: &str, wanted: &str) -> bool {
    let (url, version) = versioned(have);
    let (wanted_url, wanted_version) = versioned(wanted);
    let begins = |wanted: &str| match version.and_then(|version| version.strip_prefix(wanted)) {
        Some(rest) => !rest.starts_with(|c: char| c.is_alphanumeric()),
        None => false,
    };
    url == wanted_url && wanted_version.is_none_or(begins)
}

/// `:above` of a canonical with a version: a later one, number by number.
pub(crate) fn is_later_than(have: &str, wanted: &str) -> bool {
    let numbers = |version: &str| -> Option<Vec<u64>> {
        let parts = version.split('.').map(|part| part.parse().ok());
        let mut numbers: Vec<u64> = parts.collect::<Option<_>>()?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(numbers)
    };
    let (url, version) = versioned(have);
    let (wanted_url, wanted_version) = versioned(wanted);
    let later = match (version.and_then(numbers), wanted_version.and_then(numbers)) {
        (Some(version), Some(wanted)) => version > wanted,
        _ => false,
    };
    url == wanted_url && later
}

/// A canonical and its version.
pub(crate) fn versioned(canonical: &str) -> (&str, Option<&str>) {
    match canonical.split_once('|') {
        Some((url, version)) => (url, Some(version)),
        None => (canonical, None),
    }
}

fn reference(element: &Element) -> Option<&Value> {
    match element.type_name.as_str() {
        "CodeableReference" => element.value.get("reference"),
        _ => Some(&element.value),
    }
}
