//! `$lookup` (<https://hl7.org/fhir/R5/codesystem-operation-lookup.html>): what a code system says of a code.
//!
//! All of it, or of the properties those that are asked for. The table of R5 has no definitions and designations. Refuses codes that there are not.

use super::super::{CodeSystem, Content, TerminologyError};
use super::expand::member_of;
use super::{Asked, display, parameter, parameters, question};
use serde_json::{Value, json};

/// # Errors
/// [`TerminologyError::UnknownCode`], or [`TerminologyError::NotPresent`] where the code may be one that is not here.
pub fn lookup(
    system: &CodeSystem,
    code: &str,
    asked: Asked<'_>,
) -> Result<Value, TerminologyError> {
    if asked.value("useSupplement").is_some() {
        return Err(question(
            "supplements of code systems are not supported here",
        ));
    }
    let Some(number) = system.number(code) else {
        return Err(match system.content {
            Content::Complete => {
                TerminologyError::UnknownCode(code.to_owned(), system.url().to_string())
            }
            _ => TerminologyError::NotPresent(system.url().to_string()),
        });
    };
    let concept = &system.concepts()[number];
    let wanted: Vec<&str> = asked.all("property").filter_map(Value::as_str).collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.contains(&name) || wanted.contains(&"*");
    let language = asked.text("displayLanguage");
    let mut out = vec![parameter("name", "valueString", system.name())];
    if let Some(version) = system.version() {
        out.push(parameter("version", "valueString", version));
    }
    let display = display::of_concept(concept, language).unwrap_or(&concept.code);
    out.push(parameter("display", "valueString", display));
    if let Some(definition) = concept
        .definition
        .as_deref()
        .filter(|_| is_wanted("definition"))
    {
        out.push(parameter("definition", "valueString", definition));
    }
    if is_wanted("designation") {
        for designation in &concept.designations {
            let parts = [
                ("language", "valueCode"),
                ("use", "valueCoding"),
                ("value", "valueString"),
            ];
            let parts: Vec<Value> = parts
                .into_iter()
                .filter_map(|(name, member)| {
                    Some(parameter(name, member, designation.get(name)?.clone()))
                })
                .collect();
            out.push(json!({ "name": "designation", "part": parts }));
        }
    }
    let mut property = |code: &str, member: &str, value: Value, description: Option<&str>| {
        let mut parts = vec![
            parameter("code", "valueCode", code),
            parameter("value", member, value),
        ];
        if let Some(description) = description {
            parts.push(parameter("description", "valueString", description));
        }
        out.push(json!({ "name": "property", "part": parts }));
    };
    for (code, value) in &concept.properties {
        let is_of_hierarchy =
            system.is_property(code, "parent") || system.is_property(code, "child");
        if is_wanted(code) && !is_of_hierarchy {
            let member = member_of(system.property_type(code, value));
            property(code, member, value.clone(), None);
        }
    }
    for (name, numbers) in [("parent", &concept.parents), ("child", &concept.children)] {
        if is_wanted(name) {
            for number in numbers {
                let other = &system.concepts()[*number];
                let description = display::of_concept(other, language);
                property(name, "valueCode", (*other.code).into(), description);
            }
        }
    }
    Ok(parameters(out))
}
