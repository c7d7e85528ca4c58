//! `PATCH [base]/[type]/[id]` and `PATCH [base]/[type]?query` of a single match (<https://hl7.org/fhir/R5/http.html#patch>).

use crate::app::App;
use crate::failure::Failure;
use crate::patch::Patch;
use crate::reply::Reply;
use crate::request::Request;
use crate::write;
use fhir_storage::Change;

pub async fn patch(app: &App, mut request: Request) -> Result<Reply, Failure> {
    let change = change(app, &mut request).await?;
    let outcome = write::commit_one(app, change).await?;
    Ok(Reply::written(&request, outcome))
}

/// What the request asks to be patched.
///
/// # Errors
/// A patch or a condition that cannot be understood.
pub async fn change(app: &App, request: &mut Request) -> Result<Change, Failure> {
    let version = request.version_match()?;
    let patch = Patch::read(request)?;
    let target = request.target(app, None).await?;
    Ok(Change::Patch {
        target,
        program: patch.program(),
        version,
    })
}
