//! A path expression of a search parameter: the first line is the type it is for, the rest the expression.
//!
//! Refused with a place inside the expression, or run: the same on the same resource, and only over values of the resource.

use crate::search_url::{observation, patient};
use crate::shared::DEFINITIONS;
use fhirpath::PathProgram;

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (base, expression) = text.split_once('\n').unwrap_or(("Patient", text));
    let program = match PathProgram::compile(expression, base, &**DEFINITIONS) {
        Ok(program) => program,
        Err(error) => {
            assert!(error.position <= expression.chars().count(), "{error}");
            return;
        }
    };
    program.types();
    for resource in [patient(), observation()] {
        let mut nodes = Vec::new();
        program.run(&resource, &mut nodes);
        let mut again = Vec::new();
        program.run(&resource, &mut again);
        let same = nodes.iter().zip(&again).all(|(a, b)| a.value == b.value);
        assert!(same && nodes.len() == again.len());
    }
}
