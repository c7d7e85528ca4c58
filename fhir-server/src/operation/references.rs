//! The resources of this server that a resource refers to: its References, and Binaries that an Attachment is kept in.

use fhir_model::{Reference, ResourceKey, json};
use serde_json::Value;
use std::collections::BTreeSet;

/// Adds what the resource with this text refers to. `base`: the own one, without trailing slash.
pub fn referenced(body: &str, base: &str, found: &mut BTreeSet<ResourceKey>) {
    if let Ok(resource) = json::parse(body.as_bytes()) {
        visit(&resource, base, found);
    }
}

fn visit(value: &Value, base: &str, found: &mut BTreeSet<ResourceKey>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("reference" | "url", Value::String(text)) => {
                        if let Reference::Local { key, .. } = Reference::parse(text, Some(base))
                            && (name == "reference" || key.resource_type == "Binary")
                        {
                            found.insert(key);
                        }
                    }
                    (_, value) => visit(value, base, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, base, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let body = r##"{"resourceType":"DocumentReference","subject":{"reference":"Patient/1/_history/2"},
            "author":[{"reference":"http://h/fhir/Practitioner/2"},{"reference":"#c"},{"reference":"http://other/fhir/Practitioner/3"}],
            "contained":[{"resourceType":"PractitionerRole","practitioner":{"reference":"Practitioner/4"}}],
            "content":[{"attachment":{"url":"Binary/5"}},{"attachment":{"url":"Patient/6"}}],
            "extension":[{"url":"urn:x","valueReference":{"identifier":{"value":"7"}}}]}"##;
        let mut found = BTreeSet::new();
        referenced(body, "http://h/fhir", &mut found);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let expect = ["Binary/5", "Patient/1", "Practitioner/2", "Practitioner/4"];
        assert_eq!(found, expect);
    }
}
