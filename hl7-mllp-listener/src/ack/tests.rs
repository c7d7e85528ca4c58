//! What is written for which message and answer.

use super::*;

/// Segments separated by a blank line's worth of nothing: `/` stands for CR.
fn check(message: &str, answer: &Answer, expect: &str) {
    let ack = answer
        .acknowledge_as(message.as_bytes(), "ID1", "20260301")
        .unwrap();
    let ack = std::str::from_utf8(&ack).unwrap().replace('\r', "/");
    assert_eq!(ack, expect, "{message}");
}

fn refused() -> Answer {
    let location = Location {
        component: 1,
        repetition: 2,
        ..Location::field("PID", 5)
    };
    Answer {
        code: AckCode::AE,
        errors: vec![
            AnswerError::error(
                ErrorCode::RequiredField,
                Some(location),
                "a name | is n\u{e9}eded",
            ),
            AnswerError {
                diagnostic: "rule 7".into(),
                ..AnswerError::warning(ErrorCode::TableValue, None, "odd code")
            },
        ],
    }
}

#[test]
fn an_ack_holds_no_nul() {
    check(
        "MSH|^~\\&|H\0|GH|||||ADT^A\x0001|F\x001|P|2.5.1\0",
        &Answer::accept(),
        "MSH|^~\\&|||H|GH|20260301||ACK^A01^ACK|ID1|P|2.5.1/MSA|AA|F1/",
    );
}

#[test]
fn an_error_is_told_on_a_line() {
    let errors = refused().errors;
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["E 101 PID-5 a name | is n\u{e9}eded", "W 103 odd code"]
    );
}

#[test]
fn an_ack_answers_in_the_words_of_the_sender() {
    check(
        "MSH|^~\\&|HIS^1.2^ISO|GH|FHIR|HUB|2026||ADT^A01^ADT_A01|F1|P|2.5.1||||||8859/1\rPID|1",
        &Answer::accept(),
        "MSH|^~\\&|FHIR|HUB|HIS^1.2^ISO|GH|20260301||ACK^A01^ACK|ID1|P|2.5.1||||||8859/1/MSA|AA|F1/",
    );
    check(
        "MSH|^~\\&|||||||ADT^A01|F2|T|2.3",
        &Answer::accept(),
        "MSH|^~\\&|||||20260301||ACK^A01|ID1|T|2.3/MSA|AA|F2/",
    );
    check(
        "MSH#*~\\!#H##F####ADT*A01#F3#P#2.5",
        &Answer::accept(),
        "MSH#*~\\!#F##H##20260301##ACK*A01*ACK#ID1#P#2.5/MSA#AA#F3/",
    );
    check(
        "MSH|^~\\&#|||||||ADT^A01|F4|P|2.7",
        &Answer::accept(),
        "MSH|^~\\&#|||||20260301||ACK^A01^ACK|ID1|P|2.7/MSA|AA|F4/",
    );
    check(
        "MSH|^~\\&|||||||ADT",
        &Answer::accept(),
        "MSH|^~\\&|||||20260301||ACK|ID1|P|2.5.1/MSA|AA/",
    );
    check(
        "this is not hl7",
        &Answer::accept(),
        "MSH|^~\\&|||||20260301||ACK|ID1|P|2.5.1/MSA|AA/",
    );
    check(
        "MSH|&&&&|A|||||||F5|P|2.5",
        &Answer::accept(),
        "MSH|^~\\&|||A||20260301||ACK|ID1|P|2.5/MSA|AA|F5/",
    );
}

#[test]
fn errors_stand_where_the_version_has_them() {
    check(
        "MSH|^~\\&|||||||ADT^A01|F1|P|2.5.1",
        &refused(),
        "MSH|^~\\&|||||20260301||ACK^A01^ACK|ID1|P|2.5.1/MSA|AE|F1/\
         ERR||PID^1^5^2^1|101^Required field missing^HL70357|E||||a name \\F\\ is n?eded/\
         ERR|||103^Table value not found^HL70357|W|||rule 7|odd code/",
    );
    check(
        "MSH|^~\\&|||||||ADT^A01|F1|P|2.3.1",
        &refused(),
        "MSH|^~\\&|||||20260301||ACK^A01^ACK|ID1|P|2.3.1/MSA|AE|F1|a name \\F\\ is n?eded/\
         ERR|PID^1^5^101&Required field missing&HL70357~^^^103&Table value not found&HL70357/",
    );
}

#[test]
fn the_senders_bytes_come_back_unchanged() {
    let ack = Answer::accept()
        .acknowledge(b"MSH|^~\\&|N\xDA\xD1EZ||||||ADT^A01|\xFF1|P|2.5.1")
        .unwrap();
    assert!(ack.windows(6).any(|bytes| bytes == b"|N\xDA\xD1EZ"));
    assert!(ack.ends_with(b"MSA|AA|\xFF1\r"));
}

#[test]
fn an_ack_is_never_acknowledged() {
    let ack = Answer::accept()
        .acknowledge(b"MSH|^~\\&|||||||ADT^A01|1|P|2.5.1")
        .unwrap();
    assert_eq!(Answer::accept().acknowledge(&ack), None);
}

#[test]
fn control_ids_differ_and_fit() {
    let (a, b) = (control_id(), control_id());
    assert_ne!(a, b);
    assert_eq!((a.len(), b.len()), (20, 20));
}

#[test]
fn the_list_of_errors_is_bounded() {
    let errors = vec![AnswerError::error(ErrorCode::DataType, None, "x".repeat(10_000)); 1000];
    let ack = Answer {
        code: AckCode::AE,
        errors,
    }
    .acknowledge(b"MSH|^~\\&|||||||ADT|1|P|2.5.1")
    .unwrap();
    assert_eq!(
        ack.split(|b| *b == b'\r')
            .filter(|line| line.starts_with(b"ERR"))
            .count(),
        MAX_ERRORS
    );
    assert!(ack.len() < 20_000);
}
