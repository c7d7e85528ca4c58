//! Tokens (<https://hl7.org/fhir/R5/search.html#token>): the codes of an element with their systems.
//!
//! Readings: a code without a system is compared whatever the case of its ASCII letters, with a system exactly. `|code` finds what could have a
//! system and has none; a boolean, a string or a telephone number has none to ask for.

use crate::elements::Element;
use fhir_search::query::TokenMatch;
use serde_json::Value;

/// A code in its system, if it has one.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub system: Option<String>,
    pub code: Option<String>,
    /// Whether the type has a place for a system.
    pub systematic: bool,
}

/// The codes of an element.
pub(crate) fn codes(element: &Element) -> Vec<Code> {
    let value = &element.value;
    match element.type_name.as_str() {
        "Coding" => vec![pair(value, "code")],
        "Identifier" => vec![pair(value, "value")],
        "CodeableConcept" => codings(Some(value)),
        "CodeableReference" => codings(value.get("concept")),
        "ContactPoint" => plain(value.get("value"), None),
        _ => plain(Some(value), element.system.clone()),
    }
}

/// Whether one of them is meant.
pub(crate) fn is(code: &Code, wanted: &TokenMatch) -> bool {
    let exactly = |text: &String| code.code.as_ref() == Some(text);
    match wanted {
        TokenMatch::Code(text) => code
            .code
            .as_ref()
            .is_some_and(|have| have.eq_ignore_ascii_case(text)),
        TokenMatch::SystemAndCode(system, text) => {
            code.system.as_ref() == Some(system) && exactly(text)
        }
        TokenMatch::NoSystem(text) => code.systematic && code.system.is_none() && exactly(text),
        TokenMatch::System(system) => code.system.as_ref() == Some(system),
    }
}

/// `:of-type`: an identifier of this type with this value.
pub(crate) fn is_of_type(element: &Element, system: &str, code: &str, value: &str) -> bool {
    let typed = codings(element.value.get("type"))
        .into_iter()
        .any(|kind| kind.system.as_deref() == Some(system) && kind.code.as_deref() == Some(code));
    let same = element.value.get("value").and_then(Value::as_str) == Some(value);
    element.type_name == "Identifier" && typed && same
}

fn codings(concept: Option<&Value>) -> Vec<Code> {
    let codings = concept.and_then(|concept| concept.get("coding")?.as_array());
    codings
        .into_iter()
        .flatten()
        .map(|coding| pair(coding, "code"))
        .collect()
}

pub(crate) fn pair(value: &Value, member: &str) -> Code {
    let text = |member: &str| Some(value.get(member)?.as_str()?.to_owned());
    Code {
        system: text("system"),
        code: text(member),
        systematic: true,
    }
}

fn plain(value: Option<&Value>, system: Option<String>) -> Vec<Code> {
    let code = match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return Vec::new(),
    };
    vec![Code {
        systematic: system.is_some(),
        system,
        code: Some(code),
    }]
}
