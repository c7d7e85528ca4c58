//! What a sender is told: acknowledgement code, errors with their place, and the ACK message that says so (v2.9 sections
//! 2.9.2, 2.14.5 ERR, 2.14.8 MSA; before v2.5 the older ERR-1 and MSA-3). The sender's delimiters, names, version and
//! character set are echoed byte for byte, so an answer can be given to a message that could not be read. An ACK is never
//! acknowledged. Texts must hold no patient data: they name places, codes and rules.

use crate::escape::escape;
use crate::header::Header;
use crate::message::{MessageError, MessageWarning};
use crate::separators::Separators;
use bytes::Bytes;
use encoding_rs::mem::encode_latin1_lossy;
use std::borrow::Cow;

/// Most errors an ACK lists; more help nobody and could pass the sender's own limit.
const MAX_ERRORS: usize = 50;
/// Lengths of ERR-7 (ST), ERR-8 (TX) and MSA-3 (ST) in characters.
const MAX_DIAGNOSTIC: usize = 2048;
const MAX_USER_MESSAGE: usize = 250;
const MAX_MSA_TEXT: usize = 80;
/// The version we answer in when the message names none.
const DEFAULT_VERSION: &str = "2.5.1";

/// MSA-1 (table 0008).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckCode {
    /// Application accept: committed.
    AA,
    /// Application error: the content is wrong, sending it again will not help.
    AE,
    /// Application reject: not supported here, or not possible now.
    AR,
    /// Commit accept: in safe storage.
    CA,
    /// Commit error.
    CE,
    /// Commit reject.
    CR,
}

impl AckCode {
    /// The code of table 0008.
    pub fn code(self) -> &'static str {
        match self {
            AckCode::AA => "AA",
            AckCode::AE => "AE",
            AckCode::AR => "AR",
            AckCode::CA => "CA",
            AckCode::CE => "CE",
            AckCode::CR => "CR",
        }
    }

    /// True for AA and CA.
    pub fn is_accept(self) -> bool {
        matches!(self, AckCode::AA | AckCode::CA)
    }
}

/// ERR-4 (table 0516).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
    Information,
}

impl Severity {
    /// The code of table 0516.
    pub fn code(self) -> &'static str {
        match self {
            Severity::Error => "E",
            Severity::Warning => "W",
            Severity::Information => "I",
        }
    }
}

/// ERR-3 (table 0357).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    SegmentSequence,
    RequiredField,
    DataType,
    TableValue,
    ValueTooLong,
    UnsupportedMessageType,
    UnsupportedEvent,
    UnsupportedProcessingId,
    UnsupportedVersion,
    UnknownKey,
    DuplicateKey,
    RecordLocked,
    Internal,
}

impl ErrorCode {
    /// Code and name of table 0357.
    pub fn code(self) -> (&'static str, &'static str) {
        match self {
            ErrorCode::SegmentSequence => ("100", "Segment sequence error"),
            ErrorCode::RequiredField => ("101", "Required field missing"),
            ErrorCode::DataType => ("102", "Data type error"),
            ErrorCode::TableValue => ("103", "Table value not found"),
            ErrorCode::ValueTooLong => ("104", "Value too long"),
            ErrorCode::UnsupportedMessageType => ("200", "Unsupported message type"),
            ErrorCode::UnsupportedEvent => ("201", "Unsupported event code"),
            ErrorCode::UnsupportedProcessingId => ("202", "Unsupported processing id"),
            ErrorCode::UnsupportedVersion => ("203", "Unsupported version id"),
            ErrorCode::UnknownKey => ("204", "Unknown key identifier"),
            ErrorCode::DuplicateKey => ("205", "Duplicate key identifier"),
            ErrorCode::RecordLocked => ("206", "Application record locked"),
            ErrorCode::Internal => ("207", "Application internal error"),
        }
    }
}

/// A place in a message (ERL). Numbers from 1; 0 means the place is not that exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    pub segment: String,
    /// Which segment of that name.
    pub occurrence: usize,
    pub field: usize,
    pub repetition: usize,
    pub component: usize,
    pub subcomponent: usize,
}

impl Location {
    /// A field of the first segment with this name.
    pub fn field(segment: &str, field: usize) -> Location {
        Location {
            segment: segment.to_owned(),
            occurrence: 1,
            field,
            ..Location::default()
        }
    }

    /// ERL components, without empty ones at the end.
    fn parts(&self) -> Vec<String> {
        let numbers = [
            self.occurrence,
            self.field,
            self.repetition,
            self.component,
            self.subcomponent,
        ];
        let last = numbers.iter().rposition(|n| *n != 0).map_or(0, |i| i + 1);
        let number = |n: &usize| {
            if *n == 0 {
                String::new()
            } else {
                n.to_string()
            }
        };
        std::iter::once(self.segment.clone())
            .chain(numbers[..last].iter().map(number))
            .collect()
    }
}

/// One ERR segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerError {
    pub severity: Severity,
    pub code: ErrorCode,
    /// ERR-2.
    pub location: Option<Location>,
    /// ERR-8, for people: plain ASCII, no patient data.
    pub text: String,
    /// ERR-7, for those who look for the cause: plain ASCII, no patient data; may be empty.
    pub diagnostic: String,
}

impl AnswerError {
    pub fn error(
        code: ErrorCode,
        location: Option<Location>,
        text: impl Into<String>,
    ) -> AnswerError {
        AnswerError {
            severity: Severity::Error,
            code,
            location,
            text: text.into(),
            diagnostic: String::new(),
        }
    }

    pub fn warning(
        code: ErrorCode,
        location: Option<Location>,
        text: impl Into<String>,
    ) -> AnswerError {
        AnswerError {
            severity: Severity::Warning,
            ..AnswerError::error(code, location, text)
        }
    }
}

/// The outcome of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: AckCode,
    pub errors: Vec<AnswerError>,
}

impl Answer {
    /// AA, with nothing to say.
    pub fn accept() -> Answer {
        Answer {
            code: AckCode::AA,
            errors: Vec::new(),
        }
    }

    /// AE or AR with one reason.
    pub fn refuse(code: AckCode, error: AnswerError) -> Answer {
        Answer {
            code,
            errors: vec![error],
        }
    }

    /// The ACK to the message that `raw` begins with (its first kilobytes are enough). `None` if that message is itself
    /// an acknowledgement.
    pub fn acknowledge(&self, raw: &[u8]) -> Option<Bytes> {
        let time = jiff::Timestamp::now()
            .strftime("%Y%m%d%H%M%S+0000")
            .to_string();
        self.acknowledge_as(raw, &control_id(), &time)
    }

    /// As [`Answer::acknowledge`], with the ACK's own MSH-10 and MSH-7 given.
    pub fn acknowledge_as(&self, raw: &[u8], control_id: &str, time: &str) -> Option<Bytes> {
        let header = Header::read(raw);
        if header.is_some_and(|header| header.component(9, 1) == "ACK") {
            return None;
        }
        let ack = Ack::answering(header.as_ref());
        let mut segments = vec![ack.msh(control_id, time), ack.msa(self)];
        let listed = &self.errors[..self.errors.len().min(MAX_ERRORS)];
        match ack.has_modern_errors() {
            true => segments.extend(listed.iter().map(|error| ack.err(error))),
            false if listed.is_empty() => {}
            false => segments.push(ack.err_before_2_5(listed)),
        }
        // Every segment ends with CR, the last one too: some peers cannot read an ACK without it.
        let text = segments.join("\r") + "\r";
        Some(Bytes::from(encode_latin1_lossy(&text).into_owned()))
    }
}

/// 20 characters, the length MSH-10 had before v2.7: milliseconds since 1970 and 32 random bits.
fn control_id() -> String {
    let id = uuid::Uuid::now_v7().simple().to_string();
    format!("{}{}", &id[..12], &id[24..])
}

/// What the answered message says about how to answer it; values are the sender's bytes read as Latin-1.
struct Ack<'h> {
    separators: Separators,
    header: Option<&'h Header<'h>>,
}

impl Ack<'_> {
    fn answering<'h>(header: Option<&'h Header<'h>>) -> Ack<'h> {
        Ack {
            separators: header.map(|header| header.separators).unwrap_or_default(),
            header,
        }
    }

    fn echo(&self, field: usize) -> Cow<'_, str> {
        self.header
            .map(|header| header.field(field))
            .unwrap_or_default()
    }

    fn component(&self, field: usize, component: usize) -> String {
        self.header
            .map(|header| header.component(field, component))
            .unwrap_or_default()
    }

    fn or<'a>(value: Cow<'a, str>, default: &'a str) -> Cow<'a, str> {
        if value.is_empty() {
            Cow::Borrowed(default)
        } else {
            value
        }
    }

    /// Numbers of the version: `2.5.1` is [2, 5, 1].
    fn version(&self) -> [u8; 3] {
        let version = self.component(12, 1);
        let version = if version.is_empty() {
            DEFAULT_VERSION
        } else {
            &version
        };
        let mut numbers = version
            .split('.')
            .map(|part| part.trim().parse().unwrap_or(0));
        std::array::from_fn(|_| numbers.next().unwrap_or(0))
    }

    fn has_modern_errors(&self) -> bool {
        self.version() >= [2, 5, 0]
    }

    fn msh(&self, control_id: &str, time: &str) -> String {
        let component = self.join(self.separators.component);
        let mut kind = vec!["ACK".to_owned()];
        let event = self.component(9, 2);
        if !event.is_empty() {
            kind.push(event);
            // MSH-9.3 came with v2.3.1.
            if self.version() >= [2, 3, 1] {
                kind.push("ACK".to_owned());
            }
        }
        let fields = [
            "MSH",
            &self.separators.encoding_characters(),
            &self.echo(5),
            &self.echo(6),
            &self.echo(3),
            &self.echo(4),
            time,
            "",
            &kind.join(&component),
            control_id,
            &Self::or(self.echo(11), "P"),
            &Self::or(self.echo(12), DEFAULT_VERSION),
            "",
            "",
            "",
            "",
            "",
            &self.echo(18),
        ];
        self.segment(&fields)
    }

    fn msa(&self, answer: &Answer) -> String {
        let text = match (self.has_modern_errors(), answer.errors.first()) {
            (false, Some(error)) => self.text(&error.text, MAX_MSA_TEXT),
            _ => String::new(),
        };
        self.segment(&["MSA", answer.code.code(), &self.echo(10), &text])
    }

    fn err(&self, error: &AnswerError) -> String {
        let component = self.join(self.separators.component);
        let (code, name) = error.code.code();
        let location = error
            .location
            .as_ref()
            .map(Location::parts)
            .unwrap_or_default();
        let location: Vec<_> = location.iter().map(|part| self.text(part, 20)).collect();
        self.segment(&[
            "ERR",
            "",
            &location.join(&component),
            &[code, name, "HL70357"].join(&component),
            error.severity.code(),
            "",
            "",
            &self.text(&error.diagnostic, MAX_DIAGNOSTIC),
            &self.text(&error.text, MAX_USER_MESSAGE),
        ])
    }

    /// ERR-1 (ELD): segment, sequence, field, code; one repetition per error.
    fn err_before_2_5(&self, errors: &[AnswerError]) -> String {
        let component = self.join(self.separators.component);
        let subcomponent = self.join(self.separators.subcomponent);
        let one = |error: &AnswerError| {
            let (code, name) = error.code.code();
            let mut parts = error
                .location
                .as_ref()
                .map(Location::parts)
                .unwrap_or_default();
            parts.resize(3, String::new());
            let mut parts: Vec<_> = parts.iter().map(|part| self.text(part, 20)).collect();
            parts.push([code, name, "HL70357"].join(&subcomponent));
            parts.join(&component)
        };
        let repetitions: Vec<_> = errors.iter().map(one).collect();
        self.segment(&[
            "ERR",
            &repetitions.join(&self.join(self.separators.repetition)),
        ])
    }

    /// Fields joined, empty ones at the end left out.
    fn segment(&self, fields: &[&str]) -> String {
        let last = fields
            .iter()
            .rposition(|field| !field.is_empty())
            .map_or(0, |i| i + 1);
        fields[..last].join(&self.join(self.separators.field))
    }

    fn join(&self, separator: u8) -> String {
        // A role without a character: the parts stay apart by a blank.
        String::from(if separator == 0 {
            ' '
        } else {
            char::from(separator)
        })
    }

    /// Our own text as a value: ASCII, because the sender's character set may have nothing else, cut before escaping.
    fn text(&self, text: &str, max: usize) -> String {
        let ascii: String = text
            .chars()
            .take(max)
            .map(|c| if c.is_ascii() { c } else { '?' })
            .collect();
        escape(&ascii, &self.separators).into_owned()
    }
}

impl From<&MessageError> for Answer {
    /// AR if we do not support it, AE if the sender must repair it.
    fn from(error: &MessageError) -> Answer {
        let (code, reason, location) = match error {
            MessageError::NoHeader => (
                AckCode::AR,
                ErrorCode::SegmentSequence,
                Some(Location::field("MSH", 0)),
            ),
            MessageError::Separators => (
                AckCode::AR,
                ErrorCode::DataType,
                Some(Location::field("MSH", 2)),
            ),
            MessageError::UnknownCharset => (
                AckCode::AR,
                ErrorCode::TableValue,
                Some(Location::field("MSH", 18)),
            ),
            MessageError::InvalidText => (
                AckCode::AE,
                ErrorCode::DataType,
                Some(Location::field("MSH", 18)),
            ),
            MessageError::Nul => (AckCode::AE, ErrorCode::DataType, None),
            MessageError::TooManySegments(_) | MessageError::TooManyFields { .. } => {
                (AckCode::AE, ErrorCode::ValueTooLong, None)
            }
        };
        Answer::refuse(
            code,
            AnswerError::error(reason, location, error.to_string()),
        )
    }
}

impl From<&MessageWarning> for AnswerError {
    fn from(warning: &MessageWarning) -> AnswerError {
        match warning {
            MessageWarning::AssumedWindows1252 => AnswerError::warning(
                ErrorCode::DataType,
                Some(Location::field("MSH", 18)),
                warning.to_string(),
            ),
            MessageWarning::OddSegment { index } => AnswerError {
                diagnostic: format!("line {} without empty ones", index + 1),
                ..AnswerError::warning(ErrorCode::SegmentSequence, None, warning.to_string())
            },
        }
    }
}

#[cfg(test)]
mod tests {
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
            "MSH#*~\\!#H##F###ADT*A01##F3#P#2.5",
            &Answer::accept(),
            "MSH#*~\\!##F##H#20260301##ACK#ID1#P#2.5/MSA#AA#F3/",
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
            "MSH|^~\\&||||A|20260301||ACK|ID1|P|2.5/MSA|AA|F5/",
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
}
