//! Hierarchies, for `:above` and `:below` (<https://hl7.org/fhir/R5/search.html#modifierabove>, #versions, #recursive).
//!
//! | value | below | above |
//! |---|---|---|
//! | uri | the uri and what its path continues; by whole segments | the uri and each shorter path |
//! | canonical `url` | every version of it, and none | - |
//! | canonical `url\|version` | that version and those it is the beginning of: 1 of 1.0 and 1.4.2, not of 10 | later versions, itself left out |
//! | reference | the resource and all that is part of it, in any depth | the resource and all that it is part of |
//!
//! The specification says of canonicals twice what `:below` is: "less than" by the scheme of the version (#modifierbelow), and the partial
//! version (#versions, with examples). The examples decide here. For `:above` it says "greater than" only; versions are compared where they
//! are numbers with dots between them, others are not found. Uris are URLs: of a urn nothing is above or below.

use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use std::cmp::Ordering;
use std::sync::Arc;

/// Whether the uri has an authority and so a path: `http://host/…`.
pub fn is_url(uri: &str) -> bool {
    authority(uri).is_some()
}

/// Whether `uri` is `of`, or continues its path by whole segments.
pub fn is_below(uri: &str, of: &str) -> bool {
    match uri.strip_prefix(of) {
        Some(rest) => rest.is_empty() || of.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

/// The uri and every uri that it is below, the longest first; each with and without a slash at its end. Of a urn only itself.
pub fn paths_above(uri: &str) -> Vec<&str> {
    let mut paths = vec![uri];
    let Some(path) = authority(uri) else {
        return paths;
    };
    for (slash, _) in uri[path..].rmatch_indices('/') {
        let slash = path + slash;
        paths.push(&uri[..=slash]);
        paths.push(&uri[..slash]);
    }
    paths.dedup();
    paths
}

/// Where the path begins.
fn authority(uri: &str) -> Option<usize> {
    let host = uri.find("://")? + 3;
    let length = uri[host..].find('/').unwrap_or(uri.len() - host);
    (length > 0).then_some(host + length)
}

/// A canonical without its version, and the version.
pub fn canonical(text: &str) -> (&str, Option<&str>) {
    match text.split_once('|') {
        Some((url, version)) => (url, Some(version)),
        None => (text, None),
    }
}

/// Whether the canonical `text` is one that `of` stands for under `:below`.
pub fn canonical_below(text: &str, of: &str) -> bool {
    let ((url, version), (of_url, part)) = (canonical(text), canonical(of));
    let is_part = |part: &str| {
        let rest = version.and_then(|version| version.strip_prefix(part));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    url == of_url && part.is_none_or(is_part)
}

/// Whether the canonical `text` names a later version than `of` does.
pub fn canonical_above(text: &str, of: &str) -> bool {
    let ((url, version), (of_url, than)) = (canonical(text), canonical(of));
    let order = version.zip(than).and_then(|(a, b)| compare(a, b));
    url == of_url && order == Some(Ordering::Greater)
}

/// Whether versions can be compared with this one.
pub fn is_ordered(version: &str) -> bool {
    numbers(version).is_some()
}

fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (mut a, mut b) = (numbers(a)?, numbers(b)?);
    let length = a.len().max(b.len());
    a.resize(length, 0);
    b.resize(length, 0);
    Some(a.cmp(&b))
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

/// The parameter by which resources of a type are part of others of it
/// (<https://hl7.org/fhir/R5/references.html#circular>); replacements, relations and derivations make no hierarchy.
pub fn parent_of(definitions: &Definitions, resource_type: &str) -> Option<Arc<SearchParameter>> {
    let (_, code) = PARENTS.iter().find(|(name, _)| *name == resource_type)?;
    let parameter = definitions.search_parameter(resource_type, code)?;
    (parameter.kind == ParameterType::Reference).then(|| Arc::clone(parameter))
}

/// The type, and the parameter that leads from the part to the whole.
const PARENTS: [(&str, &str); 10] = [
    ("CarePlan", "part-of"),
    ("Device", "parent"),
    ("Encounter", "part-of"),
    ("HealthcareService", "offered-in"),
    ("Location", "partof"),
    ("Organization", "partof"),
    ("Procedure", "part-of"),
    ("ResearchStudy", "part-of"),
    ("Specimen", "parent"),
    ("Task", "part-of"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_is_a_parameter_that_leads_to_its_own_type() {
        let definitions = Definitions::load(&[]).unwrap();
        for (resource_type, code) in PARENTS {
            let parameter = parent_of(&definitions, resource_type)
                .unwrap_or_else(|| panic!("{resource_type}.{code}"));
            assert!(parameter.targets.iter().any(|t| t == resource_type));
        }
        assert!(parent_of(&definitions, "Patient").is_none());
    }

    #[test]
    fn paths() {
        for (uri, of, expect) in [
            ("http://a.org/fhir", "http://a.org/fhir", true),
            ("http://a.org/fhir/ValueSet/1", "http://a.org/fhir", true),
            ("http://a.org/fhir/ValueSet/1", "http://a.org/fhir/", true),
            ("http://a.org/fhir", "http://a.org/fhir/", false),
            ("http://a.org/fhirs", "http://a.org/fhir", false),
            ("http://a.org/fhir", "http://a.org/", true),
            ("http://a.org/fhir", "http://a.org", true),
            ("http://a.org/Fhir/1", "http://a.org/fhir", false),
            ("http://b.org/fhir", "http://a.org", false),
        ] {
            assert_eq!(is_below(uri, of), expect, "{uri} {of}");
            assert_eq!(paths_above(uri).contains(&of), expect, "{uri} {of}");
        }
        assert_eq!(paths_above("urn:oid:1.2/3"), ["urn:oid:1.2/3"]);
        assert_eq!(paths_above("http://"), ["http://"]);
        assert!(is_url("http://a") && !is_url("urn:a") && !is_url("http:///a"));
    }

    #[test]
    fn versions() {
        for (text, of, below, above) in [
            ("u|1.0", "u|1", true, false),
            ("u|1", "u|1", true, false),
            ("u|10", "u|1", false, true),
            ("u|1.1", "u|1.0", false, true),
            ("u|1.0.0", "u|1.0", true, false),
            ("u|2.0", "u|1.9", false, true),
            ("u|1.10", "u|1.9", false, true),
            ("u|1.0-draft", "u|1.0", true, false),
            ("u|2024-05", "u|2024", true, false),
            ("u|b", "u|a", false, false),
            ("u", "u|1", false, false),
            ("u|1", "u", true, false),
            ("u", "u", true, false),
            ("v|1", "u", false, false),
            ("u/a|1", "u", false, false),
        ] {
            assert_eq!(canonical_below(text, of), below, "{text} {of}");
            assert_eq!(canonical_above(text, of), above, "{text} {of}");
        }
    }
}
