//! Links within a commit that are no Reference (<https://hl7.org/fhir/R5/http.html#trules>): elements of type uri, url, oid and uuid, and
//! `href` and `src` in the narrative, where they are the fullUrl of another entry. A canonical is no link.
//!
//! They become what references become, `Type/id`; the specification does not say which form.

use fhir_definitions::{Definitions, Structure};
use serde_json::{Map, Value};

/// Replaces the links of a resource; `link` has the new text of those that lead within the commit.
pub(super) fn rewrite_links(
    definitions: &Definitions,
    resource: &mut Map<String, Value>,
    link: &mut dyn FnMut(&str) -> Option<String>,
) {
    let resource_type = resource.get("resourceType").and_then(Value::as_str);
    if let Some(structure) = resource_type.and_then(|name| definitions.structure(name)) {
        in_object(definitions, structure, resource, link);
    }
}

fn in_object(
    definitions: &Definitions,
    structure: &Structure,
    object: &mut Map<String, Value>,
    link: &mut dyn FnMut(&str) -> Option<String>,
) {
    for (name, value) in object {
        if let Some((_, type_name)) = structure.member(name) {
            in_value(definitions, type_name, value, link);
        }
    }
}

fn in_value(
    definitions: &Definitions,
    type_name: &str,
    value: &mut Value,
    link: &mut dyn FnMut(&str) -> Option<String>,
) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| in_value(definitions, type_name, item, link)),
        Value::Object(object) if object.contains_key("resourceType") => {
            rewrite_links(definitions, object, link);
        }
        Value::Object(object) => {
            if let Some(structure) = definitions.structure(type_name) {
                in_object(definitions, structure, object, link);
            }
        }
        Value::String(text) => {
            let new = match type_name {
                "uri" | "url" | "oid" | "uuid" => link(text),
                "xhtml" => in_narrative(text, link),
                _ => None,
            };
            if let Some(new) = new {
                *text = new;
            }
        }
        _ => {}
    }
}

fn in_narrative(text: &str, link: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
    let (mut out, mut rest, mut changed) = (String::new(), text, false);
    while let Some(at) = ["href=", "src="]
        .iter()
        .filter_map(|name| Some(rest.find(name)? + name.len()))
        .min()
    {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = from;
        let Some(quote) = from.chars().next().filter(|c| "\"'".contains(*c)) else {
            continue;
        };
        let Some(length) = from[1..].find(quote) else {
            break;
        };
        let new = link(&from[1..1 + length]);
        changed |= new.is_some();
        out.push(quote);
        out.push_str(new.as_deref().unwrap_or(&from[1..1 + length]));
        rest = &from[1 + length..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(before: Value, expect: Value) {
        let definitions = Definitions::load(&[]).unwrap();
        let Value::Object(mut resource) = before else {
            panic!("no object");
        };
        rewrite_links(&definitions, &mut resource, &mut |text| {
            (text == "urn:uuid:a").then(|| "Patient/1".to_owned())
        });
        assert_eq!(Value::Object(resource), expect);
    }

    #[test]
    fn links_of_each_type() {
        let with = |a: &str| {
            json!({
                "resourceType": "Patient",
                "implicitRules": a,
                "text": { "status": "generated", "div": format!("<div><a href=\"{a}\">urn:uuid:a</a><img src='{a}'/><a href=x></a></div>") },
                "extension": [{ "url": "http://x", "extension": [{ "url": "y", "valueUri": a }, { "url": "z", "valueUrl": a }, { "url": "u", "valueUuid": a }] }],
                "contained": [{ "resourceType": "Device", "url": a, "contact": [{ "value": "urn:uuid:a" }] }],
                "contact": [{ "extension": [{ "url": "x", "valueUri": a }] }],
                "meta": { "profile": ["urn:uuid:a"], "source": a },
            })
        };
        check(with("urn:uuid:a"), with("Patient/1"));
    }

    #[test]
    fn what_is_no_link_stays() {
        for kept in [
            json!({ "resourceType": "Observation", "instantiatesCanonical": "urn:uuid:a", "valueString": "urn:uuid:a" }),
            json!({ "resourceType": "Patient", "extension": [{ "url": "x", "valueCanonical": "urn:uuid:a" }, { "url": "x", "valueUri": "urn:uuid:ab" }] }),
            json!({ "resourceType": "Patient", "text": { "div": "<div><a href=\"urn:uuid:a" } }),
            json!({ "resourceType": "Nosuch", "url": "urn:uuid:a" }),
        ] {
            check(kept.clone(), kept);
        }
    }
}
