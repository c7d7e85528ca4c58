//! `_summary` and `_elements`: parts of resources (<https://hl7.org/fhir/R5/search.html#summary>, `#elements`), tagged as such.
//!
//! What R5 marks as mandatory or as a modifier always stays: without it the rest could not be read. Refuses nothing by itself but a
//! part that is sent back as an update, which would lose what was left out.

use crate::failure::Failure;
use fhir_definitions::structure::Kind;
use fhir_definitions::{Element, Structure, Structures};
use fhir_model::{Issue, IssueKind, json};
use serde_json::{Map, Value, json};

/// The part of each resource that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subset {
    /// `_summary=true`: what the definitions mark as summary, at every level.
    Summary,
    /// `_summary=text`: the narrative and what must be there.
    Text,
    /// `_summary=data`: all but the narrative.
    Data,
    /// `_elements`: these of the first level.
    Elements(Vec<Named>),
}

/// An element of `_elements`: `name`, or `Organization.name` for what is included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    resource_type: Option<String>,
    element: String,
}

const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
const SUBSETTED: &str = "SUBSETTED";

impl Subset {
    /// Whether `name` is a parameter that asks for a part.
    pub fn is_parameter(name: &str) -> bool {
        matches!(name, "_summary" | "_elements")
    }

    /// What the parameters ask for; `None` for whole resources. Elements that are named win over a summary.
    ///
    /// # Errors
    /// SearchParameter (400) for a `_summary` that there is not. `count` counts matches, of which only a search has any.
    pub fn read(parameters: &[(String, String)]) -> Result<Option<Subset>, Failure> {
        let mut summary = None;
        let mut elements = Vec::new();
        for (name, value) in parameters {
            match (name.as_str(), value.as_str()) {
                ("_summary", "true") => summary = Some(Subset::Summary),
                ("_summary", "text") => summary = Some(Subset::Text),
                ("_summary", "data") => summary = Some(Subset::Data),
                ("_summary", "" | "false") => summary = None,
                ("_summary", _) => {
                    return Err(Failure::new(
                        IssueKind::SearchParameter,
                        "_summary must be true, false, text or data; count is for searches",
                    ));
                }
                ("_elements", names) => elements.extend(names.split(',').map(named)),
                _ => {}
            }
        }
        elements.retain(|named| !named.element.is_empty());
        Ok(match elements.is_empty() {
            true => summary,
            false => Some(Subset::Elements(elements)),
        })
    }

    /// Cuts the body of an answer: the resource itself, or the matches of a Bundle that the server made.
    pub fn cut(&self, body: &str, is_bundle: bool) -> String {
        let Ok(mut body) = json::parse(body.as_bytes()) else {
            return body.to_string();
        };
        if !is_bundle {
            self.cut_resource(&mut body, true);
            return body.to_string();
        }
        let entries = body.get_mut("entry").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            let mode = entry.pointer("/search/mode").and_then(Value::as_str);
            let (is_outcome, is_match) = (mode == Some("outcome"), mode != Some("include"));
            if let Some(resource) = entry.get_mut("resource").filter(|_| !is_outcome) {
                self.cut_resource(resource, is_match);
            }
        }
        body.to_string()
    }

    fn cut_resource(&self, resource: &mut Value, is_match: bool) {
        let structures = Structures::r5();
        let structure = json::resource_type(resource).and_then(|name| structures.get(name));
        let (Some(structure), Value::Object(members)) = (structure, resource) else {
            return;
        };
        match self {
            Subset::Summary => keep_summary(structures, structure, members),
            Subset::Text => keep(structure, members, |element| element.name == "text"),
            Subset::Data => keep(structure, members, |element| element.name != "text"),
            Subset::Elements(names) => {
                let here = |named: &&Named| match &named.resource_type {
                    // Of what is searched for, not of what comes with it.
                    None => is_match,
                    Some(resource_type) => resource_type == structure.name,
                };
                let names: Vec<&Named> = names.iter().filter(here).collect();
                if names.is_empty() {
                    return;
                }
                keep(structure, members, |element| {
                    names.iter().any(|named| named.element == element.name)
                });
            }
        }
        tag(members);
    }
}

/// The element of the first level: `name` for `name.given` and `Patient.name`, `value` for `value[x]`.
fn named(text: &str) -> Named {
    let mut parts = text.trim().split('.').peekable();
    let is_type = |part: &&str| part.starts_with(|c: char| c.is_ascii_uppercase());
    Named {
        resource_type: parts.next_if(is_type).map(str::to_string),
        element: parts
            .next()
            .unwrap_or("")
            .trim_end_matches("[x]")
            .to_string(),
    }
}

/// Whether it stays at the first level, whatever is asked for.
fn stays(element: &Element) -> bool {
    element.min > 0 || element.is_modifier || matches!(element.name, "id" | "meta")
}

fn keep(structure: &Structure, members: &mut Map<String, Value>, asked: impl Fn(&Element) -> bool) {
    members.retain(|name, _| match member(structure, name) {
        Some((element, _)) => stays(element) || asked(element),
        None => name == "resourceType",
    });
}

fn keep_summary(structures: &Structures, structure: &Structure, members: &mut Map<String, Value>) {
    members.retain(|name, value| {
        let Some((element, type_name)) = member(structure, name) else {
            return name == "resourceType";
        };
        let kept = element.is_summary || element.min > 0 || element.is_modifier;
        // The id and extensions of a primitive are a part of it, a nested resource is whole.
        let below = structures.get(type_name).filter(|below| {
            kept && !name.starts_with('_') && matches!(below.kind, Kind::Complex | Kind::Backbone)
        });
        if let Some(below) = below {
            match value {
                Value::Array(items) => items
                    .iter_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|item| keep_summary(structures, below, item)),
                Value::Object(item) => keep_summary(structures, below, item),
                _ => {}
            }
        }
        kept && !is_empty(value)
    });
}

/// Whether nothing of it is a part of the summary: JSON has no empty objects.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        _ => false,
    }
}

/// The element that a JSON name stands for, and its type; `_birthDate` is a part of `birthDate`.
fn member<'a>(structure: &'a Structure, name: &str) -> Option<(&'a Element, &'static str)> {
    let (at, type_name) = structure.member(name.strip_prefix('_').unwrap_or(name))?;
    Some((&structure.elements[at], type_name))
}

fn tag(resource: &mut Map<String, Value>) {
    let meta = resource.entry("meta").or_insert_with(|| json!({}));
    let tags = match meta {
        Value::Object(meta) => meta.entry("tag").or_insert_with(|| json!([])),
        _ => return,
    };
    if let Value::Array(tags) = tags
        && !tags.iter().any(is_subsetted)
    {
        tags.push(json!({ "system": SYSTEM, "code": SUBSETTED }));
    }
}

fn is_subsetted(tag: &Value) -> bool {
    tag["code"] == SUBSETTED && tag["system"] == SYSTEM
}

/// Refuses a part of a resource as its new content.
///
/// # Errors
/// BusinessRule (422).
pub fn refuse_part(resource: &Value) -> Result<(), Failure> {
    let tags = resource.pointer("/meta/tag").and_then(Value::as_array);
    match tags.into_iter().flatten().position(is_subsetted) {
        None => Ok(()),
        Some(at) => Err(Issue::error(
            IssueKind::BusinessRule,
            "this is a part of a resource (SUBSETTED); an update needs all of it",
        )
        .at(format!(
            "{}.meta.tag[{at}]",
            json::resource_type(resource).unwrap_or_default()
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: &str = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"3"},"language":"fr","text":{"status":"empty","div":"<div/>"},"contained":[{"resourceType":"Basic"}],"extension":[{"url":"u"}],"modifierExtension":[{"url":"m"}],"active":true,"name":[{"id":"n","family":"A"}],"_birthDate":{"extension":[{"url":"e"}]},"photo":[{"url":"p"}],"contact":[{"gender":"female"}],"multipleBirthInteger":2,"communication":[{"language":{"text":"x"}}],"link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]}"#;

    fn check(parameters: &[(&str, &str)], resource: &str, expect: &str) {
        let owned: Vec<(String, String)> = parameters
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let subset = Subset::read(&owned).unwrap().unwrap();
        let cut: Value = serde_json::from_str(&subset.cut(resource, false)).unwrap();
        let names: Vec<&str> = cut
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names.join(" "), expect, "{parameters:?}");
        assert!(
            cut["meta"]["tag"]
                .as_array()
                .unwrap()
                .iter()
                .any(is_subsetted)
        );
    }

    #[test]
    fn parts() {
        for (parameters, expect) in [
            (
                &[("_summary", "true")][..],
                "resourceType id meta modifierExtension active name _birthDate link",
            ),
            (
                &[("_summary", "text")],
                "resourceType id meta text modifierExtension active link",
            ),
            (
                &[("_summary", "data")],
                "resourceType id meta language contained extension modifierExtension active name _birthDate photo contact multipleBirthInteger communication link",
            ),
            (
                &[("_elements", "birthDate,photo")],
                "resourceType id meta modifierExtension active _birthDate photo link",
            ),
            (
                &[
                    ("_elements", "name.family"),
                    ("_elements", "multipleBirth[x]"),
                ],
                "resourceType id meta modifierExtension active name multipleBirthInteger link",
            ),
            (
                &[("_summary", "true"), ("_elements", "photo")],
                "resourceType id meta modifierExtension active photo link",
            ),
            (
                &[("_elements", "nosuch")],
                "resourceType id meta modifierExtension active link",
            ),
        ] {
            // `implicitRules`, `active`, `deceased` and `link` are modifiers.
            check(parameters, PATIENT, expect);
        }
        let observation = r#"{"resourceType":"Observation","status":"final","code":{"id":"c","text":"x","extension":[{"url":"u"}]},"valueQuantity":{"value":1.50},"note":[{"text":"n"}]}"#;
        check(
            &[("_elements", "value")],
            observation,
            "resourceType status code valueQuantity meta",
        );
        check(
            &[("_summary", "true")],
            observation,
            "resourceType status code valueQuantity meta",
        );
        let summary = Subset::Summary.cut(observation, false);
        assert!(
            summary.contains(r#""code":{"text":"x"},"valueQuantity":{"value":1.50}"#),
            "{summary}"
        );
    }

    #[test]
    fn whole_resources() {
        for (name, value, ok) in [
            ("_summary", "false", true),
            ("_elements", "", true),
            ("_elements", ",", true),
            ("name", "x", true),
            ("_summary", "count", false),
            ("_summary", "nosuch", false),
        ] {
            let found = Subset::read(&[(name.to_string(), value.to_string())]);
            assert_eq!(found.ok(), ok.then_some(None), "{name}={value}");
        }
    }

    #[test]
    fn matches_of_a_bundle() {
        let bundle = r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","gender":"male"},"search":{"mode":"match"}},{"resource":{"resourceType":"Organization","name":"o","contact":[{"purpose":{"text":"p"}}]},"search":{"mode":"include"}},{"resource":{"resourceType":"OperationOutcome","issue":[{"diagnostics":"d"}]},"search":{"mode":"outcome"}}]}"#;
        for (subset, expect) in [
            (
                Subset::Elements(vec![named("name")]),
                [false, true, true, true],
            ),
            (
                Subset::Elements(vec![named("Organization.name")]),
                [true, true, false, true],
            ),
            (
                Subset::Elements(vec![named("Patient.name"), named("contact")]),
                [false, true, true, true],
            ),
            (Subset::Summary, [true, true, false, true]),
        ] {
            let cut = subset.cut(bundle, true);
            let found = [
                "\"gender\"",
                "\"name\"",
                "\"contact\"",
                "\"diagnostics\":\"d\"",
            ]
            .map(|part| cut.contains(part));
            assert_eq!(found, expect, "{cut}");
        }
    }

    #[test]
    fn a_part_is_no_update() {
        for (tag, ok) in [
            (json!({"system": SYSTEM, "code": "SUBSETTED"}), false),
            (json!({"system": "http://other", "code": "SUBSETTED"}), true),
            (json!({"code": "x"}), true),
        ] {
            let resource = json!({"resourceType": "Patient", "meta": {"tag": [tag]}});
            assert_eq!(refuse_part(&resource).is_ok(), ok, "{resource}");
        }
    }
}
