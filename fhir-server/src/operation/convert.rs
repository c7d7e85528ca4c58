//! `POST [base]/$convert` (<https://hl7.org/fhir/R5/resource-operation-convert.html>): the resource that is sent, in the format that is asked for.
//! JSON and XML; nothing is changed or stored.

use crate::app::App;
use crate::failure::Failure;
use crate::operation::{Answer, Call};

pub async fn convert(_: &App, call: Call) -> Result<Answer, Failure> {
    let resource = call.value("resource");
    Ok(Answer::Resource(
        resource.map(ToString::to_string).unwrap_or_default(),
    ))
}
