//! `POST [base]/[type]` (<https://hl7.org/fhir/R5/http.html#create>), conditional with `If-None-Exist`.

use crate::app::App;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::write;
use fhir_storage::{Change, Target};

pub async fn create(app: &App, mut request: Request) -> Result<Reply, Failure> {
    let change = change(app, &mut request, None)?;
    let outcome = write::commit_one(app, change).await?;
    Ok(Reply::written(&request, outcome))
}

/// What the request asks to be written. The body's id, versionId and lastUpdated are ignored; new ones are given.
///
/// # Errors
/// An unreadable body, another type's body, or a condition that cannot be understood.
pub fn change(
    app: &App,
    request: &mut Request,
    full_url: Option<String>,
) -> Result<Change, Failure> {
    request.refuse_parameters()?;
    let resource = request.take_resource()?;
    let resource_type = request.resource_type.clone();
    let target = match request.if_none_exist()? {
        None => Target::New { resource_type },
        Some(parameters) => Target::Match {
            resource_type,
            query: request.condition(app, &parameters)?,
            id: None,
        },
    };
    Ok(Change::Create {
        target,
        resource,
        full_url,
    })
}
