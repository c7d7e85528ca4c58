//! `ConceptMap/$translate` (<https://hl7.org/fhir/R5/conceptmap-operation-translate.html>): by one map, or by all that R5 and the site's files have.

use crate::app::App;
use crate::failure::Failure;
use crate::operation::terminology::{Question, answer};
use crate::operation::{Answer, Call, aside};
use fhir_definitions::terminology::operation::{self, Maps};

pub async fn translate(app: &App, call: Call) -> Result<Answer, Failure> {
    let (question, map) = Question::of_concept_map(app, &call).await?;
    let maps = map.map_or(Maps::Known, Maps::One);
    let terminology = question.terminology();
    answer(aside(|| {
        operation::translate(&terminology, maps, question.asked())
    }))
}
