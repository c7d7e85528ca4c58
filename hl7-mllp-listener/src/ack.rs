//! What a sender is told: acknowledgement code, errors with their place, and the ACK message that says so (v2.9 sections
//! 2.9.2, 2.14.5 ERR, 2.14.8 MSA; before v2.5 the older ERR-1 and MSA-3). The sender's delimiters, names, version and
//! character set are echoed byte for byte, so an answer can be given to a message that could not be read. An ACK is never
//! acknowledged. Texts must hold no patient data: they name places, codes and rules.

mod er7;
mod mode;

pub(crate) use er7::Ack;
pub use mode::{Condition, Mode};

use crate::header::Header;
use crate::message::{MessageError, MessageWarning};
use bytes::Bytes;
use encoding_rs::mem::encode_latin1_lossy;

/// Most errors an ACK lists; more help nobody and could pass the sender's own limit.
const MAX_ERRORS: usize = 50;
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
        self.acknowledge_as(raw, &control_id(), &now())
    }

    /// As [`Answer::acknowledge`], for a way of its own: it asks to be told that it has arrived (MSH-15 AL, MSH-16 NE).
    pub fn acknowledge_apart(&self, raw: &[u8]) -> Option<Bytes> {
        self.written(raw, &control_id(), &now(), true)
    }

    /// As [`Answer::acknowledge`], with the ACK's own MSH-10 and MSH-7 given.
    pub fn acknowledge_as(&self, raw: &[u8], control_id: &str, time: &str) -> Option<Bytes> {
        self.written(raw, control_id, time, false)
    }

    fn written(
        &self,
        raw: &[u8],
        control_id: &str,
        time: &str,
        asks_for_receipt: bool,
    ) -> Option<Bytes> {
        let header = Header::read(raw);
        if header.is_some_and(|header| header.component(9, 1) == "ACK") {
            return None;
        }
        let ack = Ack::answering(header.as_ref());
        let header = ack.msh(control_id, time, asks_for_receipt);
        let mut segments = vec![header, ack.msa(self)];
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

/// For people, on a line: `E 103 OBX-5 the text`.
impl std::fmt::Display for AnswerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ", self.severity.code(), self.code.code().0)?;
        if let Some(at) = &self.location {
            write!(f, "{}-{} ", at.segment, at.field)?;
        }
        f.write_str(&self.text)
    }
}

/// The time as v2 writes it.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y%m%d%H%M%S+0000").to_string()
}

/// 20 characters, the length MSH-10 had before v2.7: milliseconds since 1970 and 32 random bits.
fn control_id() -> String {
    let id = uuid::Uuid::now_v7().simple().to_string();
    format!("{}{}", &id[..12], &id[24..])
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
mod tests;
