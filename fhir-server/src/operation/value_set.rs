//! `ValueSet/$expand` and `ValueSet/$validate-code` (<https://hl7.org/fhir/R5/valueset-operations.html>).

use crate::app::App;
use crate::failure::Failure;
use crate::operation::terminology::{Question, answer, now, systems};
use crate::operation::{Answer, Call, aside};
use crate::terminology::refused;
use fhir_definitions::terminology::operation;

pub async fn expand(app: &App, call: Call) -> Result<Answer, Failure> {
    let (question, set) = Question::of_value_set(app, &call, Vec::new()).await?;
    let terminology = question.terminology();
    let found = aside(|| operation::expand(&terminology, &set, question.asked(), &now()));
    Ok(Answer::Resource(found.map_err(refused)?.to_string()))
}

pub async fn validate_code(app: &App, call: Call) -> Result<Answer, Failure> {
    let (question, set) = Question::of_value_set(app, &call, systems(&call)).await?;
    let terminology = question.terminology();
    answer(aside(|| {
        operation::validate_in_value_set(&terminology, &set, question.asked())
    }))
}
