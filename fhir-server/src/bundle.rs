//! `POST [base]`: batch and transaction (<https://hl7.org/fhir/R5/http.html#transaction>). Other types of Bundle are refused.

mod batch;
mod entry;
pub mod response;
pub mod searchset;
mod transaction;

use crate::app::App;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use fhir_model::{Issue, IssueKind, json};
use serde_json::Value;

pub async fn bundle(app: &App, mut request: Request) -> Result<Reply, Failure> {
    request.refuse_parameters()?;
    let mut bundle = request.take_json()?;
    if json::resource_type(&bundle) != Some("Bundle") {
        return Err(refuse(
            "resourceType",
            "only a Bundle can be posted here; other resources to [base]/[type]",
        ));
    }
    let entries = take_entries(app, &mut bundle)?;
    match bundle.get("type").and_then(Value::as_str) {
        Some("batch") => batch::batch(app, &request, entries).await,
        Some("transaction") => transaction::transaction(app, &request, entries).await,
        _ => Err(refuse(
            "Bundle.type",
            "the type of a Bundle that is posted here must be batch or transaction",
        )),
    }
}

fn take_entries(app: &App, bundle: &mut Value) -> Result<Vec<Value>, Failure> {
    let entries = match bundle.get_mut("entry").map(Value::take) {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(refuse("Bundle.entry", "Bundle.entry must be an array")),
    };
    let limit = app.config.bundle_entries_max;
    match entries.len() <= limit {
        true => Ok(entries),
        false => Err(Issue::error(
            IssueKind::TooCostly,
            format!("the Bundle has more than {limit} entries"),
        )
        .at("Bundle.entry")
        .into()),
    }
}

fn refuse(place: &str, reason: &str) -> Failure {
    Issue::error(IssueKind::Syntax, reason).at(place).into()
}
