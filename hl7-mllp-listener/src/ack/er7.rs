//! The segments of an ACK as text, in the words of the message it answers.

use super::{Answer, AnswerError, Location};
use crate::escape::escape;
use crate::header::Header;
use crate::separators::Separators;
use std::borrow::Cow;

/// Lengths of ERR-7 (ST), ERR-8 (TX) and MSA-3 (ST) in characters.
const MAX_DIAGNOSTIC: usize = 2048;
const MAX_USER_MESSAGE: usize = 250;
const MAX_MSA_TEXT: usize = 80;
/// The version we answer in when the message names none.
const DEFAULT_VERSION: &str = "2.5.1";

/// What the answered message says about how to answer it; values are the sender's bytes read as Latin-1.
pub(crate) struct Ack<'h> {
    separators: Separators,
    header: Option<&'h Header<'h>>,
}

impl Ack<'_> {
    pub(crate) fn answering<'h>(header: Option<&'h Header<'h>>) -> Ack<'h> {
        Ack {
            separators: header.map(|header| header.separators).unwrap_or_default(),
            header,
        }
    }

    /// NUL is left out: a message that holds it is refused, and its sender must be able to read why.
    pub(crate) fn echo(&self, field: usize) -> Cow<'_, str> {
        let sent = self.header.map(|header| header.field(field));
        match sent.unwrap_or_default() {
            sent if sent.contains('\0') => sent.replace('\0', "").into(),
            sent => sent,
        }
    }

    fn component(&self, field: usize, component: usize) -> String {
        self.header
            .map(|header| header.component(field, component).replace('\0', ""))
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

    pub(super) fn has_modern_errors(&self) -> bool {
        self.version() >= [2, 5, 0]
    }

    /// `asks_for_receipt`: the answer is a message of its own, whose arrival is to be told.
    pub(super) fn msh(&self, control_id: &str, time: &str, asks_for_receipt: bool) -> String {
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
        let (accept, application) = match asks_for_receipt {
            true => ("AL", "NE"),
            false => ("", ""),
        };
        let rest = [
            "",
            &kind.join(&component),
            control_id,
            &Self::or(self.echo(11), "P"),
            &Self::or(self.echo(12), DEFAULT_VERSION),
            "",
            "",
            accept,
            application,
            "",
            &self.echo(18),
        ];
        self.header("MSH", time, &rest)
    }

    /// MSH, BHS or FHS: the first seven fields are the same, names swapped. `rest` are those from the eighth on.
    pub(crate) fn header(&self, name: &str, time: &str, rest: &[&str]) -> String {
        let first = [
            name,
            &self.separators.encoding_characters(),
            &self.echo(5),
            &self.echo(6),
            &self.echo(3),
            &self.echo(4),
            time,
        ];
        self.segment(&[&first, rest].concat())
    }

    pub(super) fn msa(&self, answer: &Answer) -> String {
        let text = match (self.has_modern_errors(), answer.errors.first()) {
            (false, Some(error)) => self.text(&error.text, MAX_MSA_TEXT),
            _ => String::new(),
        };
        self.segment(&["MSA", answer.code.code(), &self.echo(10), &text])
    }

    pub(super) fn err(&self, error: &AnswerError) -> String {
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
    pub(super) fn err_before_2_5(&self, errors: &[AnswerError]) -> String {
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
    pub(crate) fn segment(&self, fields: &[&str]) -> String {
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
