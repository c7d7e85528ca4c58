//! `$subsumes` (<https://hl7.org/fhir/R5/codesystem-operation-subsumes.html>). Refuses codes that there are not.

use super::super::{CodeSystem, TerminologyError};
use super::{parameter, parameters};
use serde_json::Value;

/// # Errors
/// [`TerminologyError::UnknownCode`], or [`TerminologyError::NotPresent`].
pub fn subsumes(system: &CodeSystem, a: &str, b: &str) -> Result<Value, TerminologyError> {
    match system.subsumption(a, b)? {
        Some(outcome) => Ok(parameters(vec![parameter(
            "outcome",
            "valueCode",
            outcome.code(),
        )])),
        None => {
            let unknown = if system.concept(a).is_none() { a } else { b };
            let url = system.url().to_string();
            Err(TerminologyError::UnknownCode(unknown.to_owned(), url))
        }
    }
}
