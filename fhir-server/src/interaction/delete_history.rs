//! `DELETE [base]/[type]/[id]/_history` and `DELETE [base]/[type]/[id]/_history/[vid]`
//! (<https://hl7.org/fhir/6.0.0-ballot3/http.html#delete-history>): what is left is the current version, which may be a deletion.
//!
//! Open only where the site says so. Refuses to delete the current version.

use crate::app::App;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use fhir_model::IssueKind;
use fhir_storage::HistoryDeletion;
use http::StatusCode;

pub async fn delete_history(app: &App, request: Request) -> Result<Reply, Failure> {
    request.refuse_parameters()?;
    // Versions are numbers here: nothing else was ever one.
    let version = match request.version.as_str() {
        "" => None,
        text => Some(text.parse().unwrap_or(0)),
    };
    match app.store.delete_history(&request.key(), version).await? {
        HistoryDeletion::Done => Ok(Reply {
            status: StatusCode::NO_CONTENT,
            ..Reply::default()
        }),
        HistoryDeletion::IsCurrent => Err(Failure::new(
            IssueKind::Conflict,
            "this is the current version, which stays; delete the resource, or update it, first",
        )),
    }
}
