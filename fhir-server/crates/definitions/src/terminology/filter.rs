//! The filters of `ValueSet.compose.include` over one code system (<https://hl7.org/fhir/R5/valueset-filter-operator.html>).
//!
//! `concept` and `code` are the code itself, `display` and `definition` its texts, `parent` and `child` the hierarchy, `inactive` and
//! `notSelectable` what the code system says by whatever property; anything else is a property by its code. A regular expression
//! is matched against the whole value. Refuses operators that the specification does not have, and hierarchies other than the code system's own.

use super::TerminologyError;
use super::code_system::{CodeSystem, Concept};
use super::value_set::Filter;
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use std::collections::HashSet;

/// Longest regular expression, and the most memory its program may take, in bytes.
const REGEX_MAX_BYTES: usize = 1_024;
const REGEX_PROGRAM_MAX_BYTES: usize = 1 << 20;

/// Whether the concept with this number passes.
pub(super) type Passes<'f> = Box<dyn Fn(usize) -> bool + 'f>;

/// The filter, made ready for `system`.
///
/// # Errors
/// [`TerminologyError::Invalid`].
pub(super) fn ready<'f>(
    system: &'f CodeSystem,
    filter: &'f Filter,
) -> Result<Passes<'f>, TerminologyError> {
    let Filter {
        property,
        op,
        value,
    } = filter;
    let of_hierarchy = matches!(
        op.as_str(),
        "is-a" | "descendent-of" | "is-not-a" | "generalizes" | "child-of" | "descendent-leaf"
    );
    if of_hierarchy && !is_code(property) {
        return Err(invalid(format!(
            "the filter {op} is on the hierarchy of concepts, not on the property {property}"
        )));
    }
    Ok(match op.as_str() {
        "is-a" => among(below(system, value)),
        "descendent-of" => among(without(below(system, value), system, value)),
        "is-not-a" => {
            let below = below(system, value);
            Box::new(move |number| !below.contains(&number))
        }
        "generalizes" => among(match system.number(value) {
            Some(number) => system.above(number).into_iter().collect(),
            None => HashSet::new(),
        }),
        "child-of" => among(match system.number(value) {
            Some(number) => system.concepts()[number].children.iter().copied().collect(),
            None => HashSet::new(),
        }),
        "descendent-leaf" => {
            let below = without(below(system, value), system, value);
            Box::new(move |number| {
                below.contains(&number) && system.concepts()[number].children.is_empty()
            })
        }
        "=" => Box::new(move |number| values(system, number, property).contains(value)),
        "in" | "not-in" => {
            let listed: HashSet<&str> = value.split(',').map(str::trim).collect();
            let is_in = op == "in";
            Box::new(move |number| {
                let values = values(system, number, property);
                values.iter().any(|value| listed.contains(value.as_str())) == is_in
            })
        }
        "exists" => {
            let exists = match value.as_str() {
                "true" => true,
                "false" => false,
                _ => {
                    return Err(invalid(
                        "the value of the filter exists is true or false".to_owned(),
                    ));
                }
            };
            Box::new(move |number| values(system, number, property).is_empty() != exists)
        }
        "regex" => {
            let whole = regex(value)?;
            Box::new(move |number| {
                let values = values(system, number, property);
                values.iter().any(|value| whole.is_match(value))
            })
        }
        _ => return Err(invalid(format!("there is no filter operator {op}"))),
    })
}

fn is_code(property: &str) -> bool {
    matches!(property, "concept" | "code")
}

fn among<'f>(numbers: HashSet<usize>) -> Passes<'f> {
    Box::new(move |number| numbers.contains(&number))
}

fn below(system: &CodeSystem, code: &str) -> HashSet<usize> {
    let number = system.number(code);
    number
        .map(|number| system.below(number).into_iter().collect())
        .unwrap_or_default()
}

fn without(mut numbers: HashSet<usize>, system: &CodeSystem, code: &str) -> HashSet<usize> {
    if let Some(number) = system.number(code) {
        numbers.remove(&number);
    }
    numbers
}

/// The values of a property, as a filter writes them.
fn values(system: &CodeSystem, number: usize, property: &str) -> Vec<String> {
    let concept = &system.concepts()[number];
    let codes = |numbers: &[usize]| {
        let numbers = numbers.iter();
        numbers
            .map(|number| system.concepts()[*number].code.to_string())
            .collect()
    };
    match property {
        "concept" | "code" => vec![concept.code.to_string()],
        "display" => concept.display.iter().map(ToString::to_string).collect(),
        "definition" => concept.definition.iter().cloned().collect(),
        _ if system.is_property(property, "parent") => codes(&concept.parents),
        _ if system.is_property(property, "child") => codes(&concept.children),
        "inactive" => vec![system.is_inactive(concept).to_string()],
        "notSelectable" => vec![system.is_abstract(concept).to_string()],
        _ => stated(concept, property),
    }
}

fn stated(concept: &Concept, property: &str) -> Vec<String> {
    let values = concept
        .properties
        .iter()
        .filter(|(code, _)| code == property);
    values
        .map(|(_, value)| match value {
            Value::String(text) => text.clone(),
            Value::Object(coding) => {
                let code = coding.get("code").and_then(Value::as_str);
                code.unwrap_or_default().to_owned()
            }
            other => other.to_string(),
        })
        .collect()
}

fn regex(expression: &str) -> Result<Regex, TerminologyError> {
    if expression.len() > REGEX_MAX_BYTES {
        return Err(invalid(format!(
            "a regular expression is longer than {REGEX_MAX_BYTES} bytes"
        )));
    }
    RegexBuilder::new(&format!("^(?:{expression})$"))
        .size_limit(REGEX_PROGRAM_MAX_BYTES)
        .build()
        .map_err(|_| invalid("a filter's regular expression cannot be understood".to_owned()))
}

fn invalid(reason: String) -> TerminologyError {
    TerminologyError::Invalid(reason)
}
