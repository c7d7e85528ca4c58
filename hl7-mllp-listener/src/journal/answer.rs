//! The answer in a Task's outputs: an acknowledgement code, and every error as one line of text. Read back for a message that comes again.

use super::typed;
use crate::ack::{AckCode, Answer, AnswerError, ErrorCode, Location, Severity};
use serde_json::Value as Json;

pub(super) fn answer_outputs(answer: &Answer) -> Vec<Json> {
    let mut output = vec![typed(
        "acknowledgment",
        "valueCode",
        answer.code.code().into(),
    )];
    for error in &answer.errors {
        output.push(typed("error", "valueString", error_text(error).into()));
    }
    output
}

/// `W 103 OBX 2 8 1 0 0 the code is not …`: severity, code, location, text; `-` without a location.
fn error_text(error: &AnswerError) -> String {
    let location = match &error.location {
        None => "-".to_owned(),
        Some(at) => format!(
            "{} {} {} {} {} {}",
            at.segment, at.occurrence, at.field, at.repetition, at.component, at.subcomponent
        ),
    };
    format!(
        "{} {} {location} {}",
        error.severity.code(),
        error.code.code().0,
        error.text
    )
}

/// The answer that a Task stores, for a message that comes again.
pub fn stored_answer(task: &Json) -> Option<Answer> {
    let outputs = task["output"].as_array()?;
    let of = |code: &'static str| {
        outputs
            .iter()
            .filter(move |output| output["type"]["coding"][0]["code"] == code)
    };
    let code = match of("acknowledgment").next()?["valueCode"].as_str()? {
        "AA" => AckCode::AA,
        "AE" => AckCode::AE,
        "AR" => AckCode::AR,
        "CA" => AckCode::CA,
        "CE" => AckCode::CE,
        "CR" => AckCode::CR,
        _ => return None,
    };
    let errors = of("error").filter_map(|output| read_error(output["valueString"].as_str()?));
    Some(Answer {
        code,
        errors: errors.collect(),
    })
}

fn read_error(text: &str) -> Option<AnswerError> {
    let (severity, rest) = text.split_once(' ')?;
    let severity = match severity {
        "E" => Severity::Error,
        "W" => Severity::Warning,
        _ => Severity::Information,
    };
    let (code, rest) = rest.split_once(' ')?;
    let code = ALL_CODES.into_iter().find(|own| own.code().0 == code)?;
    let (location, text) = match rest.strip_prefix("- ") {
        Some(text) => (None, text),
        None => {
            let mut parts = rest.splitn(7, ' ');
            let segment = parts.next()?.to_owned();
            let mut number = || parts.next()?.parse().ok();
            let location = Location {
                segment,
                occurrence: number()?,
                field: number()?,
                repetition: number()?,
                component: number()?,
                subcomponent: number()?,
            };
            (Some(location), parts.next()?)
        }
    };
    Some(AnswerError {
        severity,
        ..AnswerError::error(code, location, text)
    })
}

const ALL_CODES: [ErrorCode; 13] = [
    ErrorCode::SegmentSequence,
    ErrorCode::RequiredField,
    ErrorCode::DataType,
    ErrorCode::TableValue,
    ErrorCode::ValueTooLong,
    ErrorCode::UnsupportedMessageType,
    ErrorCode::UnsupportedEvent,
    ErrorCode::UnsupportedProcessingId,
    ErrorCode::UnsupportedVersion,
    ErrorCode::UnknownKey,
    ErrorCode::DuplicateKey,
    ErrorCode::RecordLocked,
    ErrorCode::Internal,
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_read_back() {
        let location = Location {
            segment: "OBX".into(),
            occurrence: 2,
            field: 5,
            ..Location::default()
        };
        let answer = Answer {
            code: AckCode::AE,
            errors: vec![
                AnswerError::error(ErrorCode::DataType, Some(location), "no number here"),
                AnswerError::warning(ErrorCode::TableValue, None, "odd - code"),
            ],
        };
        let task = json!({"output": answer_outputs(&answer)});
        assert_eq!(stored_answer(&task), Some(answer));
        assert_eq!(stored_answer(&json!({"output": []})), None);
    }
}
