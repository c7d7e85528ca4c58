//! Patches: what one is to do, in the words of each kind of patch, and what it means.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Json,
    Xml,
    Fhirpath,
}

#[derive(Clone)]
pub enum Edit {
    /// `None` takes it away.
    Language(Option<&'static str>),
    /// System and value, behind the first or all there are.
    Identifier(String, String),
}

#[derive(Clone)]
pub struct Patch {
    pub kind: Kind,
    pub edit: Edit,
}

impl Patch {
    /// What becomes of a resource; `None` where the patch does not apply to it. XML has no other way to put something into its place than
    /// beside what is there, JSON Patch none to begin a list with its first item.
    pub fn apply(&self, body: &Value) -> Option<Value> {
        let mut body = body.clone();
        match &self.edit {
            Edit::Language(language) => {
                let is_there = body.get("language").is_some();
                let needs_it = match language {
                    Some(_) => self.kind == Kind::Xml,
                    None => self.kind != Kind::Fhirpath,
                };
                if needs_it && !is_there {
                    return None;
                }
                let members = body.as_object_mut()?;
                match language {
                    Some(language) => drop(members.insert("language".into(), (*language).into())),
                    None => drop(members.shift_remove("language")),
                }
            }
            Edit::Identifier(system, value) => {
                let new = json!({ "system": system, "value": value });
                let there = body.get_mut("identifier").and_then(Value::as_array_mut);
                match (there, self.kind) {
                    (Some(all), Kind::Xml) => all.insert(1, new),
                    (Some(all), _) => all.push(new),
                    (None, Kind::Fhirpath) => body["identifier"] = json!([new]),
                    (None, _) => return None,
                }
            }
        }
        Some(body)
    }

    pub fn content_type(&self) -> &'static str {
        match self.kind {
            Kind::Json => "application/json-patch+json",
            Kind::Xml => "application/xml-patch+xml",
            Kind::Fhirpath => "application/fhir+json",
        }
    }

    pub fn content(&self, resource_type: &str) -> String {
        match (self.kind, &self.edit) {
            (Kind::Json, Edit::Language(Some(language))) => {
                json!([{ "op": "add", "path": "/language", "value": language }]).to_string()
            }
            (Kind::Json, Edit::Language(None)) => {
                json!([{ "op": "remove", "path": "/language" }]).to_string()
            }
            (Kind::Json, Edit::Identifier(system, value)) => {
                let new = json!({ "system": system, "value": value });
                json!([{ "op": "add", "path": "/identifier/-", "value": new }]).to_string()
            }
            (Kind::Xml, Edit::Language(Some(language))) => in_diff(&format!(
                r#"<replace sel="f:{resource_type}/f:language/@value">{language}</replace>"#
            )),
            (Kind::Xml, Edit::Language(None)) => {
                in_diff(&format!(r#"<remove sel="f:{resource_type}/f:language"/>"#))
            }
            (Kind::Xml, Edit::Identifier(system, value)) => in_diff(&format!(
                r#"<add sel="f:{resource_type}/f:identifier[1]" pos="after"><identifier><system value="{system}"/><value value="{value}"/></identifier></add>"#
            )),
            (Kind::Fhirpath, _) => self.parameters(resource_type).to_string(),
        }
    }

    /// As an entry of a bundle.
    pub fn resource(&self, resource_type: &str) -> Value {
        match self.kind {
            Kind::Fhirpath => self.parameters(resource_type),
            Kind::Json | Kind::Xml => json!({
                "resourceType": "Binary",
                "contentType": self.content_type(),
                "data": STANDARD.encode(self.content(resource_type)),
            }),
        }
    }

    fn parameters(&self, resource_type: &str) -> Value {
        let operation = |kind: &str, path: String, more: Vec<Value>| {
            let mut parts = vec![
                json!({ "name": "type", "valueCode": kind }),
                json!({ "name": "path", "valueString": path }),
            ];
            parts.extend(more);
            json!({ "name": "operation", "part": parts })
        };
        let add = |name: &str, mut value: Value| {
            value["name"] = "value".into();
            let name = json!({ "name": "name", "valueString": name });
            operation("add", resource_type.to_owned(), vec![name, value])
        };
        let operations = match &self.edit {
            Edit::Language(language) => {
                let path = format!("{resource_type}.language");
                let mut all = vec![operation("delete", path, Vec::new())];
                all.extend(language.map(|to| add("language", json!({ "valueCode": to }))));
                all
            }
            Edit::Identifier(system, value) => {
                let new = json!({ "valueIdentifier": { "system": system, "value": value } });
                vec![add("identifier", new)]
            }
        };
        json!({ "resourceType": "Parameters", "parameter": operations })
    }
}

fn in_diff(operation: &str) -> String {
    format!(r#"<diff xmlns="http://hl7.org/fhir">{operation}</diff>"#)
}
