//! `POST [base]/$convert` (<https://hl7.org/fhir/R5/resource-operation-convert.html>): the resource that is sent, in the format that is asked for.
//! JSON and XML; nothing is changed or stored.
//!
//! Refuses what is no FHIR: it would not be the same in the other format. A resource may break rules beyond that.

use crate::app::App;
use crate::failure::Failure;
use crate::operation::{Answer, Call};
use fhir_model::{Issue, IssueKind};
use serde_json::Value;

pub async fn convert(app: &App, call: Call) -> Result<Answer, Failure> {
    let resource = call.value("resource").unwrap_or(&Value::Null);
    let is_of_rules = |issue: &Issue| {
        use IssueKind::{CodeInvalid, Invariant, Required};
        matches!(issue.kind, Required | CodeInvalid | Invariant)
    };
    let mut issues = app.store.definitions().validate(resource);
    issues.retain(|issue| issue.is_error() && !is_of_rules(issue));
    match issues.is_empty() {
        true => Ok(Answer::Resource(resource.to_string())),
        false => Err(Failure::from(issues)),
    }
}
