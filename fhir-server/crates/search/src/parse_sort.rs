//! `_sort` (<https://hl7.org/fhir/R5/search.html#_sort>): what each key stands for, in every type that is searched.
//!
//! A key is a search parameter, `_id`, `_lastUpdated` or `_score`, or one of these behind references (`subject:Patient.birthdate`). The
//! specification leaves what a parameter's order is to the server: docs/search.md says it. Refuses composites and special parameters, which
//! have no order, and a name that means another kind of value from type to type.

use crate::parse::{CHAIN_MAX, Context, Refusal, SORT_MAX};
use crate::parse_clause as clause;
use crate::parse_value::shown;
use crate::query::{SortBy, SortKey};
use fhir_definitions::{ParameterType, SearchParameter};
use fhirpath::JsonPath;
use std::sync::Arc;

/// Values that can be compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Date,
    Number,
    /// Normalised as strings are for searches.
    String,
    /// Codes, uris and references, as they are written.
    Text,
}

impl Family {
    /// `None` for what has no order.
    pub fn of(kind: ParameterType) -> Option<Family> {
        match kind {
            ParameterType::Date => Some(Family::Date),
            ParameterType::Number | ParameterType::Quantity => Some(Family::Number),
            ParameterType::String => Some(Family::String),
            ParameterType::Token | ParameterType::Uri | ParameterType::Reference => {
                Some(Family::Text)
            }
            ParameterType::Composite | ParameterType::Special | ParameterType::Resource => None,
        }
    }
}

/// Where in a stored resource the texts stand that a parameter of [`Family::Text`] is sorted by, as SQL/JSON paths: the codes of a token
/// (the value of an Identifier or ContactPoint), uris and canonicals, the text of a Reference. `None` where no path leads there.
pub fn stored_texts(parameter: &SearchParameter) -> Option<Vec<String>> {
    let mut texts: Vec<String> = parameter
        .program
        .as_ref()?
        .json_paths()?
        .into_iter()
        .filter_map(|JsonPath { text, type_name }| {
            let member = match (parameter.kind, type_name) {
                (ParameterType::Reference, "Reference") => ".reference",
                (ParameterType::Reference, "CodeableReference") => ".reference.reference",
                (ParameterType::Reference, "canonical" | "uri" | "url" | "oid" | "uuid") => EACH,
                // A resource within a Bundle.
                (ParameterType::Reference, _) => return None,
                (ParameterType::Token, "CodeableConcept") => ".coding.code",
                (ParameterType::Token, "CodeableReference") => ".concept.coding.code",
                (ParameterType::Token, "Coding") => ".code",
                (ParameterType::Token, "Identifier" | "ContactPoint") => ".value",
                _ => EACH,
            };
            // A condition has no members.
            Some(match text.starts_with('$') {
                true => text + member,
                false => text,
            })
        })
        .collect();
    texts.dedup();
    (!texts.is_empty()).then_some(texts)
}

/// The values of an element that repeats, which at the end of a path are one array; of any other the value.
const EACH: &str = "[*]";

/// `_sort=name,-birthdate`.
pub(crate) fn keys(
    context: &Context<'_>,
    types: &[String],
    text: &str,
) -> Result<Vec<SortKey>, Refusal> {
    let keys: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .collect();
    if keys.len() > SORT_MAX {
        return Err(Refusal::too_costly(format!(
            "more than {SORT_MAX} keys in _sort"
        )));
    }
    keys.into_iter()
        .map(|key| {
            let (path, descending) = match key.strip_prefix('-') {
                Some(path) => (path, true),
                None => (key, false),
            };
            let by = match path {
                "_score" => SortBy::Score,
                path => by(context, types, path, 0)?,
            };
            Ok(SortKey { by, descending })
        })
        .collect()
}

/// What `path` means in `types`, behind `links` references.
fn by(
    context: &Context<'_>,
    types: &[String],
    path: &str,
    links: usize,
) -> Result<SortBy, Refusal> {
    if links > CHAIN_MAX {
        return Err(Refusal::too_costly(format!(
            "a chain of more than {CHAIN_MAX} links in _sort"
        )));
    }
    let (head, rest) = match path.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    };
    let (code, modifier) = match head.split_once(':') {
        Some((code, modifier)) => (code, Some(modifier)),
        None => (head, None),
    };
    match (code, modifier, rest) {
        ("_lastUpdated", None, None) => return Ok(SortBy::LastUpdated),
        ("_id", None, None) => return Ok(SortBy::Id),
        _ => {}
    }
    let parameters = parameters(context, types, code, links > 0)?;
    match (rest, modifier) {
        (Some(rest), modifier) => chain(context, parameters, modifier, rest, links),
        (None, None) => comparable(parameters, code),
        (None, Some(_)) => Err(Refusal::unknown(format!(
            "_sort takes no modifier on {}; a type stands before a dot only",
            shown(code)
        ))),
    }
}

/// The parameter of each type. Of the types that a reference may lead to, `some` need to have it; of those searched, all.
fn parameters(
    context: &Context<'_>,
    types: &[String],
    code: &str,
    some: bool,
) -> Result<Vec<Arc<SearchParameter>>, Refusal> {
    let mut found = Vec::new();
    let mut missing = None;
    for resource_type in types {
        match clause::parameter(context.definitions, resource_type, code) {
            Ok(parameter) => found.push(parameter),
            Err(refusal) => missing = missing.or(Some(refusal)),
        }
    }
    match missing {
        Some(refusal) if found.is_empty() || types.len() == 1 => Err(refusal),
        Some(_) if !some => Err(Refusal::unknown(format!(
            "not all of the types searched have the search parameter {}, so they cannot be sorted by it",
            shown(code)
        ))),
        _ => Ok(found),
    }
}

fn comparable(parameters: Vec<Arc<SearchParameter>>, code: &str) -> Result<SortBy, Refusal> {
    let refuse = |reason: &str| {
        Refusal::unknown(format!(
            "results cannot be sorted by {}: {reason}",
            shown(code)
        ))
    };
    let mut families = Vec::new();
    for parameter in &parameters {
        if parameter.program.is_none() {
            return Err(refuse("it has no values"));
        }
        match (parameter.kind, Family::of(parameter.kind)) {
            (_, Some(Family::Text)) if stored_texts(parameter).is_none() => {
                return Err(refuse("its values cannot be put in order"));
            }
            (_, Some(family)) => families.push(family),
            (ParameterType::Composite, None) => {
                return Err(refuse(
                    "several values together have no order; sort by one of its components",
                ));
            }
            (_, None) => return Err(refuse("its values have no order")),
        }
    }
    families.dedup();
    match families.len() {
        1 => Ok(SortBy::Parameter(parameters)),
        _ => Err(refuse(
            "it means another kind of value from type to type; name one type",
        )),
    }
}

/// `parameter[:Type].rest`.
fn chain(
    context: &Context<'_>,
    parameters: Vec<Arc<SearchParameter>>,
    modifier: Option<&str>,
    rest: &str,
    links: usize,
) -> Result<SortBy, Refusal> {
    let mut types: Vec<String> = Vec::new();
    for parameter in &parameters {
        types.extend(clause::chained_types(
            context.definitions,
            parameter,
            modifier,
            rest,
        )?);
    }
    types.sort_unstable();
    types.dedup();
    let by = by(context, &types, rest, links + 1)?;
    // Of the types that the last parameter does not have, nothing is sorted.
    let has = |name: &String| match &by {
        SortBy::Parameter(all)
        | SortBy::Chain {
            parameters: all, ..
        } => all.iter().any(|parameter| parameter.resource_type == *name),
        SortBy::LastUpdated | SortBy::Id | SortBy::Score => true,
    };
    types.retain(has);
    Ok(SortBy::Chain {
        parameters,
        types,
        by: Box::new(by),
    })
}
