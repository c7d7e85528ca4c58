//! Patches (<https://hl7.org/fhir/R5/http.html#patch>): how one is read from a request or an entry of a bundle, and what holds of the
//! result of any. JSON Patch, XML Patch, and FHIRPath Patch as Parameters in JSON or XML.
//!
//! Refuses a patch that changes the type or the id, and one that changes data beside a narrative that says more than the data.

mod fhirpath_patch;
mod json_patch;
mod xml_patch;

use crate::app::now_micros;
use crate::failure::Failure;
use crate::request::{Body, Request};
use crate::xml;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fhir_model::date::instant_text;
use fhir_model::{Issue, IssueKind, json};
use fhir_storage::Program;
use fhirpath_patch::FhirpathPatch;
use http::header;
use json_patch::JsonPatch;
use serde_json::{Map, Value};
use xml_patch::XmlPatch;

/// The Content-Types of a patch.
pub const CONTENT_TYPES: [&str; 8] = [
    JSON_PATCH,
    XML_PATCH,
    FHIR_JSON,
    FHIR_XML,
    "application/json",
    "text/json",
    "application/xml",
    "text/xml",
];
/// For `CapabilityStatement.patchFormat`.
pub const FORMATS: [&str; 4] = [JSON_PATCH, XML_PATCH, FHIR_JSON, FHIR_XML];
const JSON_PATCH: &str = "application/json-patch+json";
const XML_PATCH: &str = "application/xml-patch+xml";
const FHIR_JSON: &str = "application/fhir+json";
const FHIR_XML: &str = "application/fhir+xml";

/// A patch, understood.
#[derive(Clone, Debug)]
pub enum Patch {
    Json(JsonPatch),
    Xml(XmlPatch),
    Fhirpath(FhirpathPatch),
}

impl Patch {
    /// The patch in the body of a request; in a bundle that is Parameters, or a Binary of one of the content types.
    ///
    /// # Errors
    /// UnsupportedMediaType (415) for another kind of patch, Syntax (400) for a broken one.
    pub fn read(request: &mut Request) -> Result<Patch, Failure> {
        match std::mem::replace(&mut request.body, Body::None) {
            Body::Bytes(bytes) | Body::Xml(bytes) if !bytes.is_empty() => {
                let content_type = request.header(&header::CONTENT_TYPE)?.unwrap_or("");
                Patch::of(content_type, &bytes)
            }
            Body::Resource(resource) if json::resource_type(&resource) == Some("Binary") => {
                let text = |name| resource.get(name).and_then(Value::as_str).unwrap_or("");
                let data = STANDARD.decode(text("data")).map_err(|_| {
                    Issue::error(IssueKind::Syntax, "the data is not base64").at("Binary.data")
                })?;
                Patch::of(text("contentType"), &data)
            }
            Body::Resource(resource) => Patch::of_parameters(&resource),
            _ => Err(Failure::new(
                IssueKind::Syntax,
                "the body is empty; a patch is needed",
            )),
        }
    }

    /// The patch that `bytes` of a Content-Type are.
    ///
    /// # Errors
    /// As [`Patch::read`].
    pub fn of(content_type: &str, bytes: &[u8]) -> Result<Patch, Failure> {
        let essence = content_type.split(';').next().unwrap_or("").trim();
        let essence = essence.to_ascii_lowercase();
        if !CONTENT_TYPES.contains(&essence.as_str()) {
            return Err(unsupported());
        }
        if essence == XML_PATCH {
            return Ok(Patch::Xml(XmlPatch::read(bytes)?));
        }
        if essence.ends_with("xml") {
            return Patch::of_parameters(&xml::read(bytes)?);
        }
        let patch = json::parse(bytes)?;
        // Clients send JSON Patch as plain JSON; anything else in it, a merge patch say, is no patch of FHIR's.
        match patch.is_array() || essence == JSON_PATCH {
            true => Ok(Patch::Json(JsonPatch::read(patch)?)),
            false => Patch::of_parameters(&patch),
        }
    }

    pub(crate) fn of_parameters(resource: &Value) -> Result<Patch, Failure> {
        if json::resource_type(resource) != Some("Parameters") {
            return Err(unsupported());
        }
        let now = instant_text(now_micros() / 1000);
        Ok(Patch::Fhirpath(FhirpathPatch::read(resource, now)?))
    }

    /// What the patch makes of a resource.
    pub fn program(self) -> Program {
        Program::new(move |before| {
            let mut after = before.clone();
            let applied = match &self {
                Patch::Json(patch) => patch.apply(&mut after),
                Patch::Xml(patch) => patch.apply(&mut after),
                Patch::Fhirpath(patch) => patch.apply(&mut after),
            };
            applied
                .and_then(|()| finish(&before, after))
                .map_err(|issue| vec![issue])
        })
    }
}

fn unsupported() -> Failure {
    Failure::new(
        IssueKind::UnsupportedMediaType,
        format!(
            "a patch must be a JSON Patch ({JSON_PATCH}), an XML Patch ({XML_PATCH}), or Parameters that are a FHIRPath Patch ({FHIR_JSON}, {FHIR_XML})"
        ),
    )
}

/// What holds of every patch's result.
fn finish(before: &Value, after: Value) -> Result<Value, Issue> {
    let Value::Object(mut after) = after else {
        return Err(refuse("the patch leaves no resource"));
    };
    let Value::Object(before) = before else {
        return Err(refuse("the patch is applied to no resource"));
    };
    for name in ["resourceType", "id"] {
        if before.get(name) != after.get(name) {
            return Err(refuse(
                "a patch may change neither the resourceType nor the id",
            ));
        }
    }
    let removed_from = |(name, value): (&String, &mut Value)| !is_emptied(name, value);
    retain(&mut after, removed_from);
    narrate(before, &mut after)?;
    Ok(Value::Object(after))
}

/// What a patch took the last part from is not there any more: FHIR has no empty arrays and objects.
fn is_emptied(name: &str, value: &mut Value) -> bool {
    match value {
        Value::Array(items) => {
            for item in items.iter_mut() {
                if let Value::Object(members) = item {
                    retain(members, |(name, value)| !is_emptied(name, value));
                }
                // It keeps the place of an item that has neither id nor extensions.
                if name.starts_with('_') && item.as_object().is_some_and(Map::is_empty) {
                    *item = Value::Null;
                }
            }
            items.is_empty() || (name.starts_with('_') && items.iter().all(Value::is_null))
        }
        Value::Object(members) => {
            retain(members, |(name, value)| !is_emptied(name, value));
            members.is_empty()
        }
        _ => false,
    }
}

fn retain(members: &mut Map<String, Value>, mut keep: impl FnMut((&String, &mut Value)) -> bool) {
    members.retain(|name, value| keep((name, value)));
}

/// A narrative must not say what the data does not say any more (<https://hl7.org/fhir/R5/http.html#patch>): one that was generated from
/// them is taken away, one that says more is for its author to change in the same patch.
fn narrate(before: &Map<String, Value>, after: &mut Map<String, Value>) -> Result<(), Issue> {
    const BESIDE: [&str; 5] = ["id", "meta", "implicitRules", "language", "text"];
    let Some(narrative) = after.get("text") else {
        return Ok(());
    };
    let all = before.keys().chain(after.keys());
    let mut data = all.filter(|name| !BESIDE.contains(&name.trim_start_matches('_')));
    let is_changed = data.any(|name| before.get(name) != after.get(name));
    if before.get("text") != Some(narrative) || !is_changed {
        return Ok(());
    }
    match narrative.get("status").and_then(Value::as_str) {
        Some("generated" | "extensions") => {
            after.shift_remove("text");
            Ok(())
        }
        Some("additional") => Err(refuse(
            "the narrative says more than the data: a patch of the data must change text, too, or remove it",
        )),
        _ => Ok(()),
    }
}

fn refuse(reason: &str) -> Issue {
    Issue::error(IssueKind::BusinessRule, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(before: &str, patch: &str) -> Result<Value, IssueKind> {
        let patch = Patch::of(JSON_PATCH, patch.as_bytes()).unwrap();
        let before = json::parse(before.as_bytes()).unwrap();
        let after = patch.program().apply(before);
        after.map_err(|issues| issues[0].kind)
    }

    #[test]
    fn results() {
        let refused = "refused";
        for (before, patch, expect) in [
            (
                r#""name":[{"text":"a"}]"#,
                r#"[{"op":"remove","path":"/name/0"}]"#,
                "",
            ),
            (
                r#""name":[{"text":"a"}]"#,
                r#"[{"op":"remove","path":"/name/0/text"},{"op":"add","path":"/name/0/family","value":"b"}]"#,
                r#""name":[{"family":"b"}]"#,
            ),
            (
                r#""name":[{"given":["a",null],"_given":[null,{"id":"x"}]}]"#,
                r#"[{"op":"replace","path":"/name/0/given/0","value":"b"}]"#,
                r#""name":[{"given":["b",null],"_given":[null,{"id":"x"}]}]"#,
            ),
            (
                r#""name":[{"given":["a","b"],"_given":[{"id":"y"},{"id":"x"}]}]"#,
                r#"[{"op":"remove","path":"/name/0/_given/1/id"}]"#,
                r#""name":[{"given":["a","b"],"_given":[{"id":"y"},null]}]"#,
            ),
            (
                r#""name":[{"given":["a","b"],"_given":[null,{"id":"x"}]}]"#,
                r#"[{"op":"remove","path":"/name/0/_given/1/id"}]"#,
                r#""name":[{"given":["a","b"]}]"#,
            ),
            (
                r#""active":true"#,
                r#"[{"op":"replace","path":"/id","value":"q"}]"#,
                refused,
            ),
            (
                r#""active":true"#,
                r#"[{"op":"remove","path":"/id"}]"#,
                refused,
            ),
            (
                r#""active":true"#,
                r#"[{"op":"replace","path":"/resourceType","value":"Basic"}]"#,
                refused,
            ),
            (
                r#""active":true"#,
                r#"[{"op":"replace","path":"","value":[]}]"#,
                refused,
            ),
            (
                r#""text":{"status":"generated","div":"d"},"active":true"#,
                r#"[{"op":"replace","path":"/active","value":false}]"#,
                r#""active":false"#,
            ),
            (
                r#""text":{"status":"generated","div":"d"},"active":true"#,
                r#"[{"op":"replace","path":"/active","value":true}]"#,
                r#""text":{"status":"generated","div":"d"},"active":true"#,
            ),
            (
                r#""text":{"status":"generated","div":"d"}"#,
                r#"[{"op":"add","path":"/meta","value":{"source":"urn:x"}}]"#,
                r#""text":{"status":"generated","div":"d"},"meta":{"source":"urn:x"}"#,
            ),
            (
                r#""text":{"status":"additional","div":"d"},"active":true"#,
                r#"[{"op":"remove","path":"/active"}]"#,
                refused,
            ),
            (
                r#""text":{"status":"additional","div":"d"},"active":true"#,
                r#"[{"op":"remove","path":"/active"},{"op":"replace","path":"/text/div","value":"e"}]"#,
                r#""text":{"status":"additional","div":"e"}"#,
            ),
        ] {
            let whole = |members: &str| {
                let comma = if members.is_empty() { "" } else { "," };
                format!(r#"{{"resourceType":"Patient","id":"p"{comma}{members}}}"#)
            };
            let after = patched(&whole(before), patch);
            if expect == refused {
                assert_eq!(after, Err(IssueKind::BusinessRule), "{patch}");
                continue;
            }
            let expect: Value = serde_json::from_str(&whole(expect)).unwrap();
            assert_eq!(after, Ok(expect), "{patch}");
        }
    }

    #[test]
    fn content_types() {
        for (content_type, patch, expect) in [
            ("application/json-patch+json", "[]", None),
            ("Application/JSON-Patch+json; charset=utf-8", "[]", None),
            ("application/json", "[]", None),
            (
                "application/json",
                "{}",
                Some(IssueKind::UnsupportedMediaType),
            ),
            ("application/json-patch+json", "{}", Some(IssueKind::Syntax)),
            ("application/json-patch+json", "[", Some(IssueKind::Syntax)),
            ("text/plain", "[]", Some(IssueKind::UnsupportedMediaType)),
            ("", "[]", Some(IssueKind::UnsupportedMediaType)),
        ] {
            let read = Patch::of(content_type, patch.as_bytes());
            let kind = read.err().map(|failure| failure.issues[0].kind);
            assert_eq!(kind, expect, "{content_type} {patch}");
        }
    }
}
