//! A body in XML, up to the JSON that is stored.
//!
//! Refused with a reason, or a resource; one that is valid can be written in XML, plain and indented, and read again as the same.

use crate::shared::DEFINITIONS;
use fhir_model::Issue;
use fhir_server::xml;
use serde_json::Value;

pub fn run(input: &[u8]) {
    let resource = match xml::read(input) {
        Ok(resource) => resource,
        Err(issue) => {
            let reason = issue.diagnostics;
            assert!(!reason.is_empty(), "refused without a reason");
            return;
        }
    };
    if DEFINITIONS.validate(&resource).iter().any(Issue::is_error) {
        return;
    }
    if has_id_of_a_number(&resource) {
        return;
    }
    for pretty in [false, true] {
        let text = xml::write(resource.clone(), pretty).unwrap_or_else(|failure| {
            panic!("what came as XML cannot be written: {failure:?}\n{resource}")
        });
        let again = xml::read(text.as_bytes())
            .unwrap_or_else(|issue| panic!("what was written cannot be read: {issue:?}\n{text}"));
        assert_eq!(again, resource, "{text}");
    }
}

/// `_active.id` beside a boolean or a number, which fhirbolt cannot take (fhir-server/src/xml/write.rs): a 406.
fn has_id_of_a_number(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_id_of_a_number),
        Value::Object(members) => members.iter().any(|(name, value)| {
            let is_number = value.is_boolean() || value.is_number();
            let beside = members.get(&format!("_{name}"));
            is_number && beside.is_some_and(|beside| beside.get("id").is_some())
                || has_id_of_a_number(value)
        }),
        _ => false,
    }
}
