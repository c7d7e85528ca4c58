//! What an operation is called, where it is invoked, what it takes and what it gives, as its OperationDefinition says
//! (<https://hl7.org/fhir/R5/operationdefinition.html>).

use crate::tables::OPERATIONS;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The part of an OperationDefinition that invoking needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationDefinition {
    /// Its canonical URL, without version.
    pub url: String,
    /// The name in URLs, without `$`.
    pub code: String,
    /// Whether it may change something. What does not say is taken to.
    pub affects_state: bool,
    /// The types it is invoked on; `Resource` stands for all.
    pub resource: Vec<String>,
    /// On which levels: `[base]/$code`, `[base]/[type]/$code`, `[base]/[type]/[id]/$code`.
    pub system: bool,
    pub on_type: bool,
    pub instance: bool,
    pub parameters: Vec<OperationParameter>,
}

/// `OperationDefinition.parameter`; parts are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationParameter {
    pub name: String,
    /// `use = in`.
    pub is_in: bool,
    pub min: u32,
    /// `None`: any number.
    pub max: Option<u32>,
    /// A data type, a resource type, `Resource` or `Element`; empty where it has parts.
    pub type_name: String,
}

impl OperationDefinition {
    /// One of the specification's own, by its canonical URL.
    pub fn r5(url: &str) -> Option<&'static OperationDefinition> {
        static R5: OnceLock<HashMap<String, OperationDefinition>> = OnceLock::new();
        let all = R5.get_or_init(|| {
            let lines = OPERATIONS.text().lines();
            lines
                .filter_map(|line| serde_json::from_str(line).ok())
                .map(|definition| OperationDefinition::read(&definition))
                .map(|definition| (definition.url.clone(), definition))
                .collect()
        });
        all.get(url)
    }

    /// Reads a resource. What is missing is empty: whoever accepts definitions from outside validates them before.
    pub fn read(definition: &Value) -> OperationDefinition {
        let text = |name| text(definition, name);
        let says = |name, otherwise| {
            let said = definition.get(name).and_then(Value::as_bool);
            said.unwrap_or(otherwise)
        };
        let types = definition.get("resource").and_then(Value::as_array);
        let parameters = definition.get("parameter").and_then(Value::as_array);
        OperationDefinition {
            url: text("url"),
            code: text("code"),
            affects_state: says("affectsState", true),
            resource: types
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            system: says("system", false),
            on_type: says("type", false),
            instance: says("instance", false),
            parameters: parameters
                .into_iter()
                .flatten()
                .map(OperationParameter::read)
                .collect(),
        }
    }
}

impl OperationParameter {
    fn read(parameter: &Value) -> OperationParameter {
        let min = parameter.get("min").and_then(Value::as_u64);
        OperationParameter {
            name: text(parameter, "name"),
            is_in: text(parameter, "use") == "in",
            min: u32::try_from(min.unwrap_or(0)).unwrap_or(u32::MAX),
            max: text(parameter, "max").parse().ok(),
            type_name: text(parameter, "type"),
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_specification() {
        for (id, code, affects_state, levels, parameters) in [
            ("Resource-meta", "meta", false, [true, true, true], 1),
            (
                "Resource-meta-add",
                "meta-add",
                true,
                [false, false, true],
                2,
            ),
            (
                "Patient-everything",
                "everything",
                false,
                [false, true, true],
                6,
            ),
        ] {
            let url = format!("http://hl7.org/fhir/OperationDefinition/{id}");
            let found = OperationDefinition::r5(&url).unwrap();
            assert_eq!(
                (found.code.as_str(), found.affects_state),
                (code, affects_state)
            );
            assert_eq!([found.system, found.on_type, found.instance], levels);
            assert_eq!(found.parameters.len(), parameters);
        }
        let everything =
            OperationDefinition::r5("http://hl7.org/fhir/OperationDefinition/Patient-everything");
        let types = &everything.unwrap().parameters[3];
        assert_eq!(
            types,
            &OperationParameter {
                name: "_type".into(),
                is_in: true,
                min: 0,
                max: None,
                type_name: "code".into()
            }
        );
        assert!(OperationDefinition::r5("urn:x").is_none());
    }
}
