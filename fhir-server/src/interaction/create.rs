//! `POST [base]/[type]` (<https://hl7.org/fhir/R5/http.html#create>), conditional with `If-None-Exist`, or with the condition in the URL as
//! some clients send it.

use crate::app::App;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::write;
use fhir_model::IssueKind;
use fhir_storage::{Change, Target};

pub async fn create(app: &App, mut request: Request) -> Result<Reply, Failure> {
    let change = change(app, &mut request, None).await?;
    let outcome = write::commit_one(app, change).await?;
    Ok(Reply::written(&request, outcome))
}

/// What the request asks to be written. The body's id, versionId and lastUpdated are ignored; new ones are given.
///
/// # Errors
/// An unreadable body, another type's body, or a condition that cannot be understood.
pub async fn change(
    app: &App,
    request: &mut Request,
    full_url: Option<String>,
) -> Result<Change, Failure> {
    let in_url = (!request.parameters.is_empty()).then(|| request.parameters.clone());
    let resource = request.take_resource()?;
    let resource_type = request.resource_type.clone();
    let condition = match (request.if_none_exist()?, in_url) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                IssueKind::Syntax,
                "If-None-Exist and search parameters in the URL exclude each other",
            ));
        }
        (in_header, in_url) => in_header.or(in_url),
    };
    let target = match condition {
        None => Target::New { resource_type },
        Some(parameters) => Target::Match {
            resource_type,
            query: Box::new(request.condition(app, &parameters).await?),
            id: None,
        },
    };
    Ok(Change::Create {
        target,
        resource,
        full_url,
    })
}
