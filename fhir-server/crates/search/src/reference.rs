//! References (<https://hl7.org/fhir/R5/search.html#reference>): what an element points at, and what a query may call it.
//!
//! - Relative, or absolute on the own base, to a type this server has: the resource's key. A version in it is kept as a URL too, so that
//!   a search with the version finds it, and one without finds it anyway.
//! - Absolute elsewhere, urn, of a type this server has not: the URL as written. A canonical `url|version` also without its version, a
//!   versioned URL also without `/_history/…`; one without version also as `url|`.
//! - Contained (`#id`; `#` alone is the container): not indexed; chains follow it on the resource itself.
//! - An identifier in the Reference: by `:identifier` only.

use crate::query::{Clause, Query};
use fhir_definitions::{Definitions, SearchParameter};
use fhir_model::json::{self, member};
use fhir_model::{Reference, ResourceKey};
use fhirpath::Node;
use serde_json::Value;
use std::borrow::Cow;

/// The literal references that the parameters select, as they are written: to what, and the version where one is named.
pub fn literals<'a>(
    parameters: &[&'a SearchParameter],
    resource: &'a Value,
) -> Vec<(&'a str, Option<&'a str>)> {
    let mut nodes = Vec::new();
    for program in parameters.iter().filter_map(|it| it.program.as_ref()) {
        program.run(resource, &mut nodes);
    }
    let split = |text: &'a str| match text.split_once("/_history/") {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    nodes.iter().filter_map(written).map(split).collect()
}

/// The literal reference, or the canonical, as it is written.
pub(crate) fn written<'a>(node: &Node<'a>) -> Option<&'a str> {
    let value = match node.type_name {
        "CodeableReference" => node.value.get("reference")?,
        _ => node.value,
    };
    value.as_str().or_else(|| value.get("reference")?.as_str())
}

/// The resource that a literal reference names, of one that the index says is of this server: where the base is not known, by its end.
pub fn named(reference: &str, base: Option<&str>) -> Option<ResourceKey> {
    let reference = match reference.split_once("/_history/") {
        Some((name, _)) => name,
        None => reference,
    };
    match Reference::parse(reference, base) {
        Reference::Local { key, .. } => Some(key),
        Reference::Other(url) if base.is_none() => {
            let mut parts = url.rsplit('/');
            let (id, resource_type) = (parts.next()?, parts.next()?);
            Some(ResourceKey::new(resource_type, id))
        }
        _ => None,
    }
}

/// Whether a chain of the query begins at a reference of the resource that names a version: it has looked at the current one all the same, of
/// which <https://hl7.org/fhir/R5/search.html#versions> wants the client told.
pub fn chains_over_version(query: &Query, resource: &Value) -> bool {
    let mut parameters = Vec::new();
    for clause in &query.filter {
        chained(clause, &mut parameters);
    }
    literals(&parameters, resource)
        .iter()
        .any(|(_, version)| version.is_some())
}

fn chained<'a>(clause: &'a Clause, parameters: &mut Vec<&'a SearchParameter>) {
    match clause {
        Clause::Chain { parameter, .. } => parameters.push(parameter),
        Clause::ByType(clause) => {
            for (_, clause) in &clause.by_type {
                chained(clause, parameters);
            }
        }
        Clause::Any(clauses) | Clause::All(clauses) => {
            for clause in clauses {
                chained(clause, parameters);
            }
        }
        Clause::Not(clause) => chained(clause, parameters),
        _ => {}
    }
}

/// What an element points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Local(ResourceKey),
    Url(Cow<'a, str>),
    /// Beside its `Url`: a canonical that names no version, which the index has as `url|`.
    Latest(&'a str),
    /// Value of an Identifier.
    Identifier(&'a Value),
    /// The id of a resource in the same container; empty for the container.
    Contained(&'a str),
}

/// Calls `visit` for everything the element points at.
pub(crate) fn each<'a>(
    node: Node<'a>,
    definitions: &Definitions,
    base: Option<&str>,
    visit: &mut dyn FnMut(Target<'a>),
) {
    let reference = match node.type_name {
        "CodeableReference" => member(node.value, "reference"),
        _ => Some(node.value),
    };
    match reference {
        Some(Value::String(text)) => {
            url(
                text,
                node.type_name == "canonical",
                definitions,
                base,
                visit,
            );
        }
        Some(value @ Value::Object(_)) => {
            if let Some(text) = json::text(value, "reference") {
                url(text, false, definitions, base, visit);
            } else if let (Some(resource_type), Some(id)) =
                (json::text(value, "resourceType"), json::text(value, "id"))
                && fhir_model::key::is_id(id)
                && definitions.type_number(resource_type).is_some()
            {
                // A resource inside a Bundle: the composition of a document, the header of a message.
                visit(Target::Local(ResourceKey::new(resource_type, id)));
            }
            if let Some(identifier) = member(value, "identifier").filter(|i| i.is_object()) {
                visit(Target::Identifier(identifier));
            }
        }
        _ => {}
    }
}

/// `Reference.display` (`:text`).
pub(crate) fn display(node: Node<'_>) -> Option<&str> {
    let reference = match node.type_name {
        "CodeableReference" => member(node.value, "reference")?,
        _ => node.value,
    };
    json::text(reference, "display")
}

fn url<'a>(
    text: &'a str,
    is_canonical: bool,
    definitions: &Definitions,
    base: Option<&str>,
    visit: &mut dyn FnMut(Target<'a>),
) {
    match Reference::parse(text, base) {
        Reference::Contained(id) => visit(Target::Contained(id)),
        Reference::Local { key, version }
            if definitions.type_number(&key.resource_type).is_some() =>
        {
            if let Some(version) = version {
                visit(Target::Url(Cow::Owned(format!("{key}/_history/{version}"))));
            }
            visit(Target::Local(key));
        }
        _ => {
            visit(Target::Url(Cow::Borrowed(text)));
            // A canonical that leaves the version open leads to the latest one; chains must tell it from one that names it.
            if is_canonical && !text.contains('|') {
                visit(Target::Latest(text));
            }
            let plain = text
                .split_once('|')
                .or_else(|| text.split_once("/_history/"));
            if let Some((plain, _)) = plain {
                visit(Target::Url(Cow::Borrowed(plain)));
            }
        }
    }
}
