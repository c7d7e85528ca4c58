//! `CodeSystem/$validate-code`, `$lookup` and `$subsumes` (<https://hl7.org/fhir/R5/codesystem-operations.html>).
//!
//! A code is given with its system, or as a Coding. Refuses both, and neither.

use crate::app::App;
use crate::failure::Failure;
use crate::operation::terminology::{Question, answer};
use crate::operation::{Answer, Call, Level, aside};
use fhir_definitions::terminology::operation;
use fhir_model::IssueKind;
use serde_json::Value;

pub async fn validate_code(app: &App, call: Call) -> Result<Answer, Failure> {
    let named = call
        .value("coding")
        .and_then(|coding| coding["system"].as_str());
    let (question, system) = Question::of_code_system(app, &call, named).await?;
    answer(aside(|| {
        operation::validate_in_code_system(&system, question.asked())
    }))
}

pub async fn lookup(app: &App, call: Call) -> Result<Answer, Failure> {
    let (named, code) = one(&call, "code", "coding")?;
    let (question, system) = Question::of_code_system(app, &call, named).await?;
    answer(aside(|| operation::lookup(&system, code, question.asked())))
}

pub async fn subsumes(app: &App, call: Call) -> Result<Answer, Failure> {
    let (named, a) = one(&call, "codeA", "codingA")?;
    let (other, b) = one(&call, "codeB", "codingB")?;
    if named != other {
        return Err(refuse("both codes must be of one code system"));
    }
    let (_, system) = Question::of_code_system(app, &call, named).await?;
    answer(aside(|| operation::subsumes(&system, a, b)))
}

/// A system and a code: of an instance the system may be left out.
fn one<'a>(
    call: &'a Call,
    code: &str,
    coding: &str,
) -> Result<(Option<&'a str>, &'a str), Failure> {
    let (named, code) = match (call.text(code), call.value(coding)) {
        (Some(code), None) => (call.text("system"), Some(code)),
        (None, Some(coding)) => {
            let text = |name| coding.get(name).and_then(Value::as_str);
            (text("system"), text("code"))
        }
        _ => {
            return Err(refuse(&format!(
                "either {code} with system, or {coding} must be given"
            )));
        }
    };
    match code {
        Some(code) if named.is_some() || call.level() == Level::Instance => Ok((named, code)),
        _ => Err(refuse("a code needs its system, and a Coding both")),
    }
}

fn refuse(reason: &str) -> Failure {
    Failure::new(IssueKind::Syntax, reason)
}
