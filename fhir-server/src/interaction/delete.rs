//! `DELETE [base]/[type]/[id]` and `DELETE [base]/[type]?query`, of one match or of several as the site has it (<https://hl7.org/fhir/R5/http.html#delete>).

use crate::app::App;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::{policy, write};
use fhir_storage::Change;

pub async fn delete(app: &App, request: Request) -> Result<Reply, Failure> {
    let change = change(app, &request).await?;
    let outcome = write::commit_one(app, change).await?;
    Ok(Reply::written(&request, outcome))
}

/// What the request asks to be deleted.
///
/// # Errors
/// A condition that is empty or cannot be understood.
pub async fn change(app: &App, request: &Request) -> Result<Change, Failure> {
    let version = request.version_match()?;
    let target = request.target(app, None).await?;
    Ok(Change::Delete {
        target,
        version,
        at_most: policy::deletes_at_most(&app.config),
    })
}
