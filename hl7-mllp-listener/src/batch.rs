//! The batch protocol (v2.9 section 2.10.3): `[FHS] { [BHS] { message } [BTS] } [FTS]`, and several messages in one frame without any of
//! it. A batch is cut into its messages, each is applied and answered by itself, in order, and the answers go back as one batch.
//!
//! Refuses a batch that contradicts itself (BTS-1 or FTS-1 say another number than came, lines that belong to no message): something was
//! lost on the way, so none of it is applied, and each message is told so.

use crate::ack::{Ack, AnswerError, ErrorCode, Location};
use crate::header::{Header, without_leading_space};
use bytes::Bytes;
use encoding_rs::mem::encode_latin1_lossy;
use std::borrow::Cow;

/// Most messages of one batch.
pub const MAX_MESSAGES: usize = 10_000;

/// A frame that holds more than one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The FHS line.
    pub file_header: Option<Bytes>,
    pub parts: Vec<Part>,
    /// Why none of it is applied.
    pub fault: Option<AnswerError>,
}

/// The messages between a BHS and its BTS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The BHS line.
    pub header: Option<Bytes>,
    pub messages: Vec<Bytes>,
}

impl Batch {
    /// The batch in a frame; `None` if it is one message, or no message at all.
    pub fn read(frame: &Bytes) -> Option<Batch> {
        if !is_batch(frame) {
            return None;
        }
        let mut reader = Reader::default();
        for (start, line) in lines(frame) {
            reader.line(frame, start, line);
        }
        let batch = reader.end(frame);
        // A first line that only begins like a header opens nothing: without a message it could not be answered as a batch.
        let has_any = batch.file_header.is_some() || !batch.parts.is_empty();
        has_any.then_some(batch)
    }

    /// All messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter().flat_map(|part| &part.messages)
    }

    /// The answer: the acknowledgements of each message, given in the order of [`Batch::messages`], in a batch like the one that came.
    pub fn acknowledge(&self, acknowledgments: &[Vec<Bytes>], time: &str) -> Bytes {
        let mut text = Vec::new();
        let mut given = acknowledgments.iter();
        let first = self.messages().next();
        if let Some(header) = &self.file_header {
            text.extend(answering("FHS", header, time));
        }
        for part in &self.parts {
            let header = part.header.as_ref().or(first).map_or(&b"BHS"[..], |h| h);
            let header = lines(header).next().map_or(header, |(_, line)| line);
            text.extend(answering("BHS", header, time));
            let mut count = 0;
            for acknowledgment in given.by_ref().take(part.messages.len()).flatten() {
                count += 1;
                text.extend_from_slice(acknowledgment);
            }
            text.extend(trailer("BTS", header, count));
        }
        if let Some(header) = &self.file_header {
            text.extend(trailer("FTS", header, self.parts.len()));
        }
        Bytes::from(text)
    }
}

/// Lines that are not empty, and where they start.
fn lines(frame: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    frame
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .map(move |line| {
            let at = start;
            start += line.len() + 1;
            (at, without_leading_space(line))
        })
        .filter(|(_, line)| !line.is_empty())
}

/// A header segment: its name and a delimiter, so that text which happens to begin so is none.
fn is_named(line: &[u8], name: &[u8]) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_punctuation))
}

fn is_batch(frame: &[u8]) -> bool {
    let mut lines = lines(frame).map(|(_, line)| line);
    let Some(first) = lines.next() else {
        return false;
    };
    match first.get(..3) {
        Some(b"FHS" | b"BHS") => true,
        Some(b"MSH") => lines.any(|line| {
            [&b"MSH"[..], b"BHS", b"BTS", b"FTS"]
                .iter()
                .any(|name| is_named(line, name))
        }),
        _ => false,
    }
}

#[derive(Default)]
struct Reader {
    batch: Batch,
    /// Where the message began that is being read.
    message: Option<usize>,
    /// Of the part that is being read.
    part: Option<Part>,
    count: usize,
}

impl Reader {
    fn line(&mut self, frame: &Bytes, start: usize, line: &[u8]) {
        let is = |name: &[u8]| is_named(line, name);
        if is(b"MSH") {
            self.end_message(frame, start);
            self.message = Some(start);
            self.count += 1;
            if self.count > MAX_MESSAGES {
                self.fault(
                    ErrorCode::ValueTooLong,
                    None,
                    "the batch has too many messages",
                );
            }
        } else if is(b"FHS") {
            self.end_part(frame, start);
            if self.batch.file_header.is_some() || !self.batch.parts.is_empty() {
                self.out_of_order("FHS");
            }
            self.batch.file_header = Some(frame.slice_ref(line));
        } else if is(b"BHS") {
            self.end_part(frame, start);
            self.part = Some(Part {
                header: Some(frame.slice_ref(line)),
                messages: Vec::new(),
            });
        } else if is(b"BTS") {
            self.end_message(frame, start);
            let found = self.part.as_ref().map_or(0, |part| part.messages.len());
            self.check_count("BTS", line, self.separator(), found);
            self.end_part(frame, start);
        } else if is(b"FTS") {
            self.end_part(frame, start);
            self.check_count("FTS", line, self.separator(), self.batch.parts.len());
        } else if self.message.is_none() {
            self.fault(
                ErrorCode::SegmentSequence,
                None,
                "a line of the batch belongs to no message",
            );
        }
    }

    fn end_message(&mut self, frame: &Bytes, end: usize) {
        if let Some(start) = self.message.take() {
            let part = self.part.get_or_insert_default();
            part.messages.push(frame.slice(start..end));
        }
    }

    fn end_part(&mut self, frame: &Bytes, end: usize) {
        self.end_message(frame, end);
        self.batch.parts.extend(self.part.take());
    }

    /// The field separator of the trailers, which declare none.
    fn separator(&self) -> u8 {
        let own = self.part.as_ref().and_then(|part| part.header.as_ref());
        let header = own.or(self.batch.file_header.as_ref());
        header.and_then(|line| line.get(3).copied()).unwrap_or(b'|')
    }

    /// The number is optional; what is no number is not believed to be one.
    fn check_count(&mut self, name: &'static str, line: &[u8], separator: u8, found: usize) {
        let said = line.split(|byte| *byte == separator).nth(1);
        let said = said.and_then(|said| std::str::from_utf8(said).ok());
        let said: Option<usize> = said.and_then(|said| said.trim().parse().ok());
        if said.is_some_and(|said| said != found) {
            let location = Some(Location::field(name, 1));
            let text =
                "the batch does not have as many as its trailer says; none of it was applied";
            self.fault(ErrorCode::SegmentSequence, location, text);
        }
    }

    fn out_of_order(&mut self, name: &'static str) {
        let location = Some(Location::field(name, 0));
        self.fault(
            ErrorCode::SegmentSequence,
            location,
            "a header stands in the wrong place",
        );
    }

    fn fault(&mut self, code: ErrorCode, location: Option<Location>, text: &str) {
        let fault = AnswerError::error(code, location, text);
        self.batch.fault.get_or_insert(fault);
    }

    fn end(mut self, frame: &Bytes) -> Batch {
        self.end_part(frame, frame.len());
        self.batch
    }
}

/// A header of the answer: names swapped, the control id of the one that came as reference (BHS-12, FHS-12).
fn answering(name: &str, line: &[u8], time: &str) -> Vec<u8> {
    let came = Header::of_line(line);
    let ack = Ack::answering(Some(&came));
    // A message in place of a header says who sent it, not which batch it was.
    let id = match line.starts_with(b"MSH") {
        true => Cow::default(),
        false => ack.echo(11),
    };
    let text = ack.header(name, time, &["", "", "", "", &id]);
    encode_latin1_lossy(&(text + "\r")).into_owned()
}

fn trailer(name: &str, header: &[u8], count: usize) -> Vec<u8> {
    let separator = char::from(Header::of_line(header).separators.field);
    format!("{name}{separator}{count}\r").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines separated by `/`; the messages of a part by `+`, parts by ` ; `.
    fn check(frame: &str, expect: Option<&str>, fault: Option<&str>) {
        let frame = Bytes::from(frame.replace('/', "\r"));
        let batch = Batch::read(&frame);
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).replace('\r', "/");
        let part = |part: &Part| part.messages.iter().map(text).collect::<Vec<_>>().join("+");
        let found = batch
            .as_ref()
            .map(|batch| batch.parts.iter().map(part).collect::<Vec<_>>().join(" ; "));
        assert_eq!(found.as_deref(), expect, "{frame:?}");
        let found = batch.and_then(|batch| batch.fault).map(|fault| fault.text);
        assert_eq!(found.is_some(), fault.is_some(), "{frame:?}: {found:?}");
        if let (Some(found), Some(expect)) = (found, fault) {
            assert!(found.contains(expect), "{frame:?}: {found}");
        }
    }

    #[test]
    fn a_batch_is_cut_into_its_messages() {
        check("MSH|^~\\&|A/PID|1", None, None);
        check("MSH|^~\\&|A/NTE|1||x/MSHA is text", None, None);
        check("garbage/MSH|^~\\&|A", None, None);
        check("", None, None);
        check(
            "BHS|^~\\&/MSH|1/PID|1/MSH|2/BTS|2/",
            Some("MSH|1/PID|1/+MSH|2/"),
            None,
        );
        check("BHS|^~\\&/MSH|1/MSH|2", Some("MSH|1/+MSH|2"), None);
        check(
            "FHS|^~\\&/BHS|^~\\&/MSH|1/BTS|1/BHS|^~\\&/MSH|2/BTS/FTS|2",
            Some("MSH|1/ ; MSH|2/"),
            None,
        );
        check("FHS|^~\\&/MSH|1/FTS|1", Some("MSH|1/"), None);
        check("MSH|1/PID|1/MSH|2", Some("MSH|1/PID|1/+MSH|2"), None);
        check("MSH|1/BTS|1", Some("MSH|1/"), None);
        check("BHS#*~\\&/MSH|1/BTS#1", Some("MSH|1/"), None);
        check("BHS|^~\\&/BTS|0", Some(""), None);
        check("BHSABC|1/PID|1", None, None);
        check(
            "BHSABC|1/MSH|1",
            Some("MSH|1"),
            Some("belongs to no message"),
        );
    }

    #[test]
    fn a_batch_that_contradicts_itself_is_refused() {
        check("BHS|^~\\&/MSH|1/BTS|2", Some("MSH|1/"), Some("trailer"));
        check(
            "FHS|^~\\&/BHS|^~\\&/MSH|1/BTS|1/FTS|2",
            Some("MSH|1/"),
            Some("trailer"),
        );
        check(
            "BHS|^~\\&/PID|1/MSH|1/BTS|1",
            Some("MSH|1/"),
            Some("belongs to no message"),
        );
        check(
            "BHS|^~\\&/MSH|1/FHS|^~\\&",
            Some("MSH|1/"),
            Some("wrong place"),
        );
    }

    #[test]
    fn answers_go_back_as_the_batch_came() {
        let frame =
            "FHS|^~\\&|LAB|X|HUB|Y|||||F7/BHS|^~\\&|LAB|X|HUB|Y|||||B7/MSH|1/MSH|2/BTS|2/FTS|1";
        let frame = Bytes::from(frame.replace('/', "\r"));
        let batch = Batch::read(&frame).unwrap();
        let said = [
            vec![Bytes::from("MSA|CA|1\r"), Bytes::from("MSA|AA|1\r")],
            vec![],
        ];
        let answer = batch.acknowledge(&said, "2026");
        let expect = "FHS|^~\\&|HUB|Y|LAB|X|2026|||||F7/BHS|^~\\&|HUB|Y|LAB|X|2026|||||B7/MSA|CA|1/MSA|AA|1/BTS|2/FTS|1/";
        assert_eq!(String::from_utf8_lossy(&answer).replace('\r', "/"), expect);
        // NUL is left out, as in an acknowledgement.
        let frame = Bytes::from("BHS|^~\\&|L\0AB|X|HUB|Y|||||B\x007\rMSH|1");
        let answer = Batch::read(&frame).unwrap().acknowledge(&[], "2026");
        let expect = "BHS|^~\\&|HUB|Y|LAB|X|2026|||||B7/BTS|0/";
        assert_eq!(String::from_utf8_lossy(&answer).replace('\r', "/"), expect);
        let frame = Bytes::from("MSH|^~\\&|LAB|X|HUB|Y\rMSH|2");
        let answer = Batch::read(&frame).unwrap().acknowledge(&[], "2026");
        let expect = "BHS|^~\\&|HUB|Y|LAB|X|2026/BTS|0/";
        assert_eq!(String::from_utf8_lossy(&answer).replace('\r', "/"), expect);
    }
}
