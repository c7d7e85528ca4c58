//! `Composition/[id]/$document` (<https://hl7.org/fhir/R5/composition-operation-document.html>): a Bundle of the type document with the Composition first and
//! then what it refers to; with `graph`, also what that GraphDefinition leads to. All of one state. `persist=true` stores it as a Bundle.
//!
//! Refuses a Composition that refers to a resource of this server that is not there: the document would not be whole. What is elsewhere stays a reference.

use crate::app::{App, now_micros};
use crate::failure::Failure;
use crate::interaction::read::present;
use crate::operation::graph::{entries, reached};
use crate::operation::references::referenced;
use crate::operation::{Answer, Call};
use fhir_model::date::instant_text;
use fhir_model::{IssueKind, ResourceKey, json};
use fhir_storage::{Change, Target};
use serde_json::json;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Most resources of a document.
const RESOURCES_MAX: usize = 1_000;

pub async fn document(app: &App, call: Call) -> Result<Answer, Failure> {
    let definitions = app.store.definitions();
    let base = &call.request.base;
    let key = call.request.key();
    let mut snapshot = app.store.snapshot().await?;
    present(&key, snapshot.read(&key).await?)?;
    let mut resources = match call.text("graph") {
        Some(_) => reached(&definitions, &call, &mut snapshot).await?,
        None => snapshot.read_all(std::slice::from_ref(&key)).await?,
    };
    let mut missing = BTreeSet::new();
    if let Some(composition) = resources.first() {
        referenced(&composition.body, base, &mut missing);
    }
    for resource in &resources {
        missing.remove(&resource.key);
    }
    if resources.len() + missing.len() > RESOURCES_MAX {
        return Err(Failure::new(
            IssueKind::TooCostly,
            format!("the document would have more than {RESOURCES_MAX} resources"),
        ));
    }
    let wanted: Vec<ResourceKey> = missing.iter().cloned().collect();
    let found = snapshot.read_all(&wanted).await?;
    snapshot.close().await?;
    for resource in &found {
        missing.remove(&resource.key);
    }
    if let Some(absent) = missing.first() {
        return Err(Failure::new(
            IssueKind::BusinessRule,
            format!("the Composition refers to {absent}, which is not there"),
        ));
    }
    resources.extend(found);
    let head = json!({
        "resourceType": "Bundle",
        "identifier": { "system": "urn:ietf:rfc:3986", "value": format!("urn:uuid:{}", Uuid::new_v4()) },
        "type": "document",
        "timestamp": instant_text(now_micros() / 1000),
    });
    // Around the texts: numbers in them keep their digits.
    let head = head.to_string();
    let head = head.strip_suffix('}').unwrap_or_default();
    let text = format!(r#"{head},"entry":[{}]}}"#, entries(base, &resources));
    match call.value("persist").and_then(serde_json::Value::as_bool) {
        Some(true) => Ok(Answer::Bundle(stored(app, &text).await?)),
        _ => Ok(Answer::Bundle(text)),
    }
}

/// The Bundle as it is stored.
async fn stored(app: &App, text: &str) -> Result<String, Failure> {
    let change = Change::Create {
        target: Target::New {
            resource_type: "Bundle".to_string(),
        },
        resource: json::parse(text.as_bytes())?,
        full_url: None,
    };
    let outcome = crate::write::commit_one(app, change).await?;
    outcome.body.ok_or_else(|| {
        Failure::new(
            IssueKind::Exception,
            "a document was stored and has no body",
        )
    })
}
