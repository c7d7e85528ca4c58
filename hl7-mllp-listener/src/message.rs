//! A v2 message as an index of offsets over its text (v2.9 chapter 2): one pass finds the lines and their field
//! separators; repetitions, components and subcomponents are found inside a field when asked for. Every non-empty line
//! is a segment of the index, also one that looks like none ([`Segment::is_odd`]): nothing is dropped.
//!
//! Segments end with CR, LF or CRLF; blank lines, byte order marks and leading blanks are passed over. Refuses text that
//! does not begin with MSH, FHS or BHS, delimiters that cannot work, text that is not in its declared character set, and
//! more segments or fields than the limits.

mod holds;
mod segment;

use holds::{Classes, Holds};
pub use segment::{Component, Field, Repetition, Segment, Subcomponent};

use crate::charset::Charset;
use crate::header::{Header, without_leading_space};
pub use crate::separators::Separators;

/// How bytes become text, and how much of it.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Read the message in this character set, whatever MSH-18 says: for senders known to declare a wrong one.
    pub charset: Option<Charset>,
    /// Most segments of a message.
    pub max_segments: usize,
    /// Most fields of a segment.
    pub max_fields: usize,
}

impl TextOptions {
    /// The usual limits; `charset`: what the sender's file says, if anything.
    pub fn of(charset: Option<Charset>) -> TextOptions {
        TextOptions {
            charset,
            ..TextOptions::default()
        }
    }
}

impl Default for TextOptions {
    fn default() -> Self {
        TextOptions {
            charset: None,
            max_segments: 50_000,
            max_fields: 1_000,
        }
    }
}

/// Why a message cannot be indexed. The texts hold no message content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the message does not begin with an MSH segment")]
    NoHeader,
    #[error("MSH-1 and MSH-2 must be up to six different punctuation characters")]
    Separators,
    #[error("the character set in MSH-18 is not supported")]
    UnknownCharset,
    #[error("the message is not valid text in the character set of MSH-18")]
    InvalidText,
    #[error("the message contains NUL bytes")]
    Nul,
    #[error("the message has more than {0} segments")]
    TooManySegments(usize),
    #[error("a segment has more than {max} fields")]
    TooManyFields { max: usize, segment: usize },
}

/// Something the sender should know about a message that could be read. The texts hold no message content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageWarning {
    #[error("MSH-18 is empty and the message is not UTF-8: it was read as windows-1252")]
    AssumedWindows1252,
    #[error("a line is not a segment: it was kept, and not mapped")]
    OddSegment {
        /// Position among the segments, from 0.
        index: usize,
    },
}

/// One message, or one batch of them; owns its text.
#[derive(Clone, Debug)]
pub struct Message {
    text: String,
    charset: Charset,
    separators: Separators,
    segments: Vec<SegmentSpan>,
    /// Offsets of all field separators, segment after segment.
    marks: Vec<u32>,
    /// What is in the field behind each of them.
    holds: Vec<Holds>,
    /// The segment that is the first MSH.
    header: usize,
    warnings: Vec<MessageWarning>,
}

#[derive(Clone, Copy, Debug)]
struct SegmentSpan {
    start: u32,
    end: u32,
    first_mark: u32,
    marks: u32,
    is_odd: bool,
    /// MSH, FHS, BHS: field 1 is the separator itself.
    is_header: bool,
}

impl Message {
    /// Decodes and indexes a message without its MLLP frame.
    pub fn parse(raw: &[u8], options: &TextOptions) -> Result<Message, MessageError> {
        let mut lines = raw
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .map(without_leading_space);
        let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
        if !is_header_name(first.get(..3).unwrap_or_default()) {
            return Err(MessageError::NoHeader);
        }
        let header = Header::read(raw).ok_or(MessageError::NoHeader)?;
        if !header.has_valid_separators {
            return Err(MessageError::Separators);
        }
        if raw.contains(&0) {
            return Err(MessageError::Nul);
        }
        let mut warnings = Vec::new();
        let (text, charset) = decode(raw, &header, options, &mut warnings)?;
        index(text, charset, header.separators, options, warnings)
    }

    /// All non-empty lines, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        (0..self.segments.len()).map(|index| Segment {
            message: self,
            index,
        })
    }

    /// The segment at a position, from 0.
    pub fn segment(&self, index: usize) -> Option<Segment<'_>> {
        (index < self.segments.len()).then_some(Segment {
            message: self,
            index,
        })
    }

    /// The first segment with this name.
    pub fn first(&self, name: &str) -> Option<Segment<'_>> {
        self.segments().find(|segment| segment.name() == name)
    }

    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// A value as sent, by numbers: `segment` from 0, the others from 1. Component 0 is the whole repetition,
    /// subcomponent 0 the whole component, repetition 0 the whole field. Empty if there is no such place.
    pub fn value(
        &self,
        segment: usize,
        field: usize,
        repetition: usize,
        component: usize,
        subcomponent: usize,
    ) -> &str {
        let Some(segment) = self.segment(segment) else {
            return "";
        };
        let field = segment.field(field);
        if repetition == 0 {
            return field.raw();
        }
        let repetition = field.repetition(repetition);
        if component == 0 {
            return repetition.raw();
        }
        let component = repetition.component(component);
        if subcomponent == 0 {
            component.raw()
        } else {
            component.subcomponent(subcomponent).raw()
        }
    }

    /// The text as decoded, line ends as sent.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The character set the message was read in.
    pub fn charset(&self) -> Charset {
        self.charset
    }

    pub fn separators(&self) -> &Separators {
        &self.separators
    }

    pub fn warnings(&self) -> &[MessageWarning] {
        &self.warnings
    }

    /// True for FHS/BHS batches and for several messages in one frame.
    pub fn is_batch(&self) -> bool {
        self.segments()
            .filter(|segment| is_header_name(segment.name().as_bytes()))
            .nth(1)
            .is_some()
            || self.header != 0
    }

    /// The (first) MSH.
    pub fn header(&self) -> Segment<'_> {
        Segment {
            message: self,
            index: self.header,
        }
    }

    fn header_value(&self, field: usize, component: usize) -> &str {
        self.value(self.header, field, 1, component, 1)
    }

    /// MSH-3.1, as sent.
    pub fn sending_application(&self) -> &str {
        self.header_value(3, 1)
    }

    /// MSH-4.1, as sent.
    pub fn sending_facility(&self) -> &str {
        self.header_value(4, 1)
    }

    /// MSH-5.1, as sent.
    pub fn receiving_application(&self) -> &str {
        self.header_value(5, 1)
    }

    /// MSH-6.1, as sent.
    pub fn receiving_facility(&self) -> &str {
        self.header_value(6, 1)
    }

    /// MSH-7, as sent: when the message was made.
    pub fn message_time(&self) -> &str {
        self.header_value(7, 1)
    }

    /// MSH-9: what kind of message.
    pub fn trigger(&self) -> Trigger<'_> {
        Trigger {
            message_type: self.header_value(9, 1),
            event: self.header_value(9, 2),
            structure: self.header_value(9, 3),
        }
    }

    /// MSH-10, as sent.
    pub fn control_id(&self) -> &str {
        self.value(self.header, 10, 0, 0, 0)
    }

    /// MSH-11.1: P, T or D.
    pub fn processing_id(&self) -> &str {
        self.header_value(11, 1)
    }

    /// MSH-12.1: `2.5.1`.
    pub fn version(&self) -> &str {
        self.header_value(12, 1)
    }

    /// MSH-15: when an accept acknowledgement is wanted (table 0155).
    pub fn accept_acknowledgment(&self) -> &str {
        self.header_value(15, 1)
    }

    /// MSH-16: when an application acknowledgement is wanted (table 0155).
    pub fn application_acknowledgment(&self) -> &str {
        self.header_value(16, 1)
    }
}

/// MSH-9: message type, trigger event and (from v2.3.1) message structure; each empty if not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger<'m> {
    pub message_type: &'m str,
    pub event: &'m str,
    pub structure: &'m str,
}

impl Message {
    fn slice(&self, start: u32, end: u32) -> &str {
        &self.text[start as usize..end as usize]
    }
}

fn is_header_name(name: &[u8]) -> bool {
    matches!(name, b"MSH" | b"FHS" | b"BHS")
}

fn decode(
    raw: &[u8],
    header: &Header<'_>,
    options: &TextOptions,
    warnings: &mut Vec<MessageWarning>,
) -> Result<(String, Charset), MessageError> {
    let raw = raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(raw);
    let declared = match options.charset {
        Some(charset) => Some(charset),
        None => Charset::declared(&header.field(18), char::from(header.separators.repetition))
            .map_err(|_| MessageError::UnknownCharset)?,
    };
    if let Some(charset) = declared {
        let text = charset.decode(raw).ok_or(MessageError::InvalidText)?;
        return Ok((text, charset));
    }
    if let Some(text) = Charset::UTF_8.decode(raw) {
        return Ok((text, Charset::UTF_8));
    }
    warnings.push(MessageWarning::AssumedWindows1252);
    let text = Charset::WINDOWS_1252
        .decode(raw)
        .ok_or(MessageError::InvalidText)?;
    Ok((text, Charset::WINDOWS_1252))
}

fn index(
    text: String,
    charset: Charset,
    separators: Separators,
    options: &TextOptions,
    mut warnings: Vec<MessageWarning>,
) -> Result<Message, MessageError> {
    let bytes = text.as_bytes();
    // Offsets are u32: the frame limit is far below, but a caller may pass any slice.
    let length = u32::try_from(bytes.len())
        .map_err(|_| MessageError::TooManySegments(options.max_segments))?;
    let mut segments = Vec::new();
    let mut marks: Vec<u32> = Vec::with_capacity(bytes.len() / 16);
    let mut holds: Vec<Holds> = Vec::with_capacity(bytes.len() / 16);
    let classes = Classes::new(&separators);
    let mut header = None;
    let mut start = 0;
    while start < length {
        let line = &bytes[start as usize..];
        start += (line.len() - without_leading_space(line).len()) as u32;
        let first_mark = marks.len() as u32;
        let mut end = start;
        let mut field = Holds::default();
        for byte in &bytes[start as usize..] {
            match classes.of(*byte) {
                Holds::LINE_END => break,
                Holds::FIELD => {
                    if marks.len() as u32 > first_mark {
                        holds.push(field);
                    }
                    marks.push(end);
                    field = Holds::default();
                }
                class => field.add(class),
            }
            end += 1;
        }
        if marks.len() as u32 > first_mark {
            holds.push(field);
        }
        if end > start {
            let line = &bytes[start as usize..end as usize];
            let is_odd = !looks_like_segment(line, separators.field);
            let span = SegmentSpan {
                start,
                end,
                first_mark,
                marks: marks.len() as u32 - first_mark,
                is_odd,
                is_header: !is_odd && is_header_name(&line[..3]),
            };
            if span.marks as usize > options.max_fields {
                return Err(MessageError::TooManyFields {
                    max: options.max_fields,
                    segment: segments.len(),
                });
            }
            if segments.len() == options.max_segments {
                return Err(MessageError::TooManySegments(options.max_segments));
            }
            if span.is_odd {
                warnings.push(MessageWarning::OddSegment {
                    index: segments.len(),
                });
            }
            if header.is_none() && span.is_header && line.starts_with(b"MSH") {
                header = Some(segments.len());
            }
            segments.push(span);
        }
        start = end + 1;
    }
    let header = header.ok_or(MessageError::NoHeader)?;
    Ok(Message {
        text,
        charset,
        separators,
        segments,
        marks,
        holds,
        header,
        warnings,
    })
}

fn looks_like_segment(line: &[u8], field_separator: u8) -> bool {
    match line {
        [a, b, c, rest @ ..] => {
            a.is_ascii_uppercase()
                && [b, c]
                    .iter()
                    .all(|x| x.is_ascii_uppercase() || x.is_ascii_digit())
                && rest.first().is_none_or(|next| *next == field_separator)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
