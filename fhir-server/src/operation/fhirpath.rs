//! `POST [base]/$fhirpath`: an expression on a resource that is sent (docs/fhirpath.md).
//!
//! Refuses expressions that cannot be understood (400) or evaluated (422), and those that lead too far (`too-costly`).

use crate::app::App;
use crate::failure::Failure;
use crate::operation::host::{RESOLVED_MAX, ROUNDS_MAX, Site};
use crate::operation::{Answer, Call};
use fhir_model::IssueKind;
use fhirpath::{OperationError, Reason, evaluate_parameters};
use serde_json::Value;

pub async fn fhirpath(app: &App, call: Call) -> Result<Answer, Failure> {
    let parameters = call.parameters();
    let mut site = Site::new(app, &call.request.base);
    let evaluated = site
        .evaluate(|site| evaluate_parameters(&parameters, &*site.definitions, site, &site.now))
        .await?;
    if !evaluated.is_whole {
        return Err(Failure::new(
            IssueKind::TooCostly,
            format!(
                "the expression resolves more than {RESOLVED_MAX} references, or more than {ROUNDS_MAX} one after the other"
            ),
        ));
    }
    let mut answer = evaluated.answer.map_err(refused)?;
    let results = answer.get_mut("parameter").map(Value::take);
    Ok(Answer::Parameters(match results {
        Some(Value::Array(results)) => results,
        _ => Vec::new(),
    }))
}

fn refused(error: OperationError) -> Failure {
    let kind = match &error {
        OperationError::Missing(_) | OperationError::Compile(_) => IssueKind::Syntax,
        OperationError::Evaluation(error) => match error.reason {
            Reason::Invalid => IssueKind::BusinessRule,
            Reason::Limit => IssueKind::TooCostly,
            Reason::Unsupported => IssueKind::NotSupported,
        },
    };
    Failure::new(kind, error.to_string())
}
