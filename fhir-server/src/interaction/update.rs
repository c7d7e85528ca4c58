//! `PUT [base]/[type]/[id]` and `PUT [base]/[type]?query` (<https://hl7.org/fhir/R5/http.html#update>); creates what is not there.

use crate::app::App;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::{subset, write};
use fhir_model::{Issue, IssueKind, is_id};
use fhir_storage::Change;
use serde_json::Value;

pub async fn update(app: &App, mut request: Request) -> Result<Reply, Failure> {
    let change = change(app, &mut request, None).await?;
    let outcome = write::commit_one(app, change).await?;
    Ok(Reply::written(&request, outcome))
}

/// What the request asks to be written.
///
/// # Errors
/// An unreadable body, another type's body, an id that is missing, not legal or not the URL's (400), or a condition that cannot be understood.
pub async fn change(
    app: &App,
    request: &mut Request,
    full_url: Option<String>,
) -> Result<Change, Failure> {
    let version = request.version_match()?;
    let resource = request.take_resource()?;
    subset::refuse_part(&resource)?;
    let id = body_id(&resource)?;
    let target = request.target(app, id).await?;
    if !request.id.is_empty() && id != Some(&request.id) {
        let reason = "the body must have the id that the URL has";
        return Err(Issue::error(IssueKind::Syntax, reason)
            .at(format!("{}.id", request.resource_type))
            .into());
    }
    let chosen = id.unwrap_or_default();
    Ok(Change::Update {
        may_create: request.is_own || app.config.client_ids.allow(chosen),
        target,
        resource,
        full_url,
        version,
    })
}

fn body_id(resource: &Value) -> Result<Option<&str>, Failure> {
    match resource.get("id") {
        None => Ok(None),
        Some(Value::String(id)) if is_id(id) => Ok(Some(id)),
        Some(_) => Err(Issue::error(
            IssueKind::Syntax,
            "the body's id is not legal: 1 to 64 of A-Z a-z 0-9 - .",
        )
        .at("id")
        .into()),
    }
}
