//! A complete FHIRPath expression, as `$fhirpath` takes it: evaluated on a Patient and on an Observation.
//!
//! Refused with a place inside the expression, or evaluated within its limits: the same each time, to an answer that is JSON.

use crate::search_url::{observation, patient};
use crate::shared::DEFINITIONS;
use fhirpath::{NoHost, OperationError, Program, evaluate_parameters};
use serde_json::json;

const NOW: &str = "2026-03-01T00:00:00.000Z";

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let inside = |position| assert!(position <= text.chars().count(), "character {position}");
    if let Err(error) = Program::compile(text, "Patient", &**DEFINITIONS) {
        inside(error.position);
    }
    for resource in [patient(), observation()] {
        let parameters = json!({"resourceType": "Parameters", "parameter": [
            {"name": "expression", "valueString": text},
            {"name": "resource", "resource": resource},
        ]});
        let evaluate = || evaluate_parameters(&parameters, &**DEFINITIONS, &NoHost, NOW);
        let result = evaluate();
        match &result {
            Ok(answer) => {
                let again = serde_json::from_str(&answer.to_string());
                assert_eq!(again.ok().as_ref(), Some(answer), "the answer is JSON");
            }
            Err(OperationError::Compile(error)) => return inside(error.position),
            Err(OperationError::Evaluation(error)) => inside(error.position),
            Err(OperationError::Missing(name)) => panic!("{name} was there"),
        }
        assert_eq!(result, evaluate(), "evaluated twice");
    }
}
