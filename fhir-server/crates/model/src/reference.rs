//! What a `Reference.reference` (or a canonical, or a `fullUrl`) points at (<https://hl7.org/fhir/R5/references.html>).

use crate::key::{ResourceKey, is_id};
use serde_json::Value;

/// A reference string, taken apart. The text itself is never rebuilt: this is only how it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `#id`, or `#` alone for the container.
    Contained(&'a str),
    /// `urn:uuid:…` or `urn:oid:…`.
    Urn(&'a str),
    /// `Type/id` or `Type/id/_history/version`, relative to the server's base.
    Local {
        key: ResourceKey,
        version: Option<&'a str>,
    },
    /// `Type?query`: a conditional reference, legal in transactions only.
    Conditional {
        resource_type: &'a str,
        query: &'a str,
    },
    /// An absolute URL that is not on the own base, or anything else.
    Other(&'a str),
}

impl<'a> Reference<'a> {
    /// Takes a reference apart. `base` is the server's own base without a trailing slash (`http://host/fhir`);
    /// an absolute URL on it is understood as relative.
    pub fn parse(text: &'a str, base: Option<&str>) -> Reference<'a> {
        if let Some(id) = text.strip_prefix('#') {
            return Reference::Contained(id);
        }
        if text
            .get(..4)
            .is_some_and(|p| p.eq_ignore_ascii_case("urn:"))
        {
            return Reference::Urn(text);
        }
        let relative = match base
            .and_then(|base| text.strip_prefix(base))
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(rest) => rest,
            // A conditional reference may hold a URL in its query.
            None if text
                .split('?')
                .next()
                .is_some_and(|path| path.contains("://")) =>
            {
                return Reference::Other(text);
            }
            None => text,
        };
        if let Some((resource_type, query)) = relative.split_once('?') {
            return match is_type_name(resource_type) {
                true => Reference::Conditional {
                    resource_type,
                    query,
                },
                false => Reference::Other(text),
            };
        }
        let mut parts = relative.split('/');
        match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some(t), Some(id), None, None, None) if is_type_name(t) && is_id(id) => {
                Reference::Local {
                    key: ResourceKey::new(t, id),
                    version: None,
                }
            }
            (Some(t), Some(id), Some("_history"), Some(v), None)
                if is_type_name(t) && is_id(id) && is_id(v) =>
            {
                Reference::Local {
                    key: ResourceKey::new(t, id),
                    version: Some(v),
                }
            }
            _ => Reference::Other(text),
        }
    }
}

/// Whether the text could be a resource type's name: an upper-case letter, then letters.
pub fn is_type_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_alphabetic())
        && text.len() <= 64
}

/// Calls `visit` on every `reference` string of every Reference in the resource, deepest last; what it returns replaces the text.
pub fn rewrite_references(value: &mut Value, visit: &mut dyn FnMut(&str) -> Option<String>) {
    match value {
        Value::Object(object) => {
            for (name, child) in object.iter_mut() {
                match child {
                    Value::String(text) if name == "reference" => {
                        if let Some(new) = visit(text) {
                            *text = new;
                        }
                    }
                    Value::Object(_) | Value::Array(_) => rewrite_references(child, visit),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| rewrite_references(item, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse() {
        let base = Some("http://h/fhir");
        let local = |t: &str, id: &str, version| Reference::Local {
            key: ResourceKey::new(t, id),
            version,
        };
        for (text, expect) in [
            ("Patient/1", local("Patient", "1", None)),
            ("Patient/1/_history/2", local("Patient", "1", Some("2"))),
            ("http://h/fhir/Patient/1", local("Patient", "1", None)),
            (
                "http://h/fhirx/Patient/1",
                Reference::Other("http://h/fhirx/Patient/1"),
            ),
            (
                "http://other/Patient/1",
                Reference::Other("http://other/Patient/1"),
            ),
            ("#p", Reference::Contained("p")),
            ("#", Reference::Contained("")),
            ("URN:uuid:X", Reference::Urn("URN:uuid:X")),
            (
                "Patient?identifier=a|1",
                Reference::Conditional {
                    resource_type: "Patient",
                    query: "identifier=a|1",
                },
            ),
            (
                "Patient?identifier=http://a|1",
                Reference::Conditional {
                    resource_type: "Patient",
                    query: "identifier=http://a|1",
                },
            ),
            (
                "http://o/Patient?a=b",
                Reference::Other("http://o/Patient?a=b"),
            ),
            ("patient/1", Reference::Other("patient/1")),
            ("Patient", Reference::Other("Patient")),
            ("", Reference::Other("")),
            ("é", Reference::Other("é")),
        ] {
            assert_eq!(Reference::parse(text, base), expect, "{text}");
        }
    }
}
