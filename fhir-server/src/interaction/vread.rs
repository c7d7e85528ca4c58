//! `GET [base]/[type]/[id]/_history/[vid]` (<https://hl7.org/fhir/R5/http.html#vread>).

use crate::app::App;
use crate::failure::Failure;
use crate::interaction::read;
use crate::reply::Reply;
use crate::request::Request;
use fhir_model::IssueKind;
use fhir_storage::Version;

pub async fn vread(app: &App, request: Request) -> Result<Reply, Failure> {
    let version = version(&request)?;
    let found = app.store.vread(&request.key(), version).await?;
    reply(&request, found)
}

/// The version asked for. Versions are numbers here, so that nothing else was ever one.
///
/// # Errors
/// NotFound (404).
pub fn version(request: &Request) -> Result<i32, Failure> {
    request.subset()?;
    request.version.parse().map_err(|_| no_such(request))
}

/// That version, or 304 for a client that has it.
///
/// # Errors
/// NotFound (404), or Deleted (410) where it is a deletion.
pub fn reply(request: &Request, found: Option<Version>) -> Result<Reply, Failure> {
    match found {
        None => Err(no_such(request)),
        found => read::reply(request, found),
    }
}

fn no_such(request: &Request) -> Failure {
    let reason = format!("{} has no such version", request.key());
    Failure::new(IssueKind::NotFound, reason)
}
