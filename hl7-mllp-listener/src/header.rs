//! The MSH segment read from bytes, before the character set is known and even when the rest cannot be read: enough to
//! decode the message, to choose the sender's settings and to answer under the right control id (v2.9 section 2.14.9).

use crate::separators::Separators;
use encoding_rs::mem::decode_latin1;
use std::borrow::Cow;

/// Only this much of a message is searched for its MSH, in bytes; a batch header before it is far shorter.
const SEARCHED_BYTES: usize = 64 * 1024;

/// The first MSH segment of a message, as bytes. Values are read as Latin-1, one character per byte, so that they can
/// be written back unchanged whatever the character set is.
#[derive(Clone, Copy, Debug)]
pub struct Header<'r> {
    line: &'r [u8],
    /// The declared delimiters; the usual ones where MSH-1 and MSH-2 make no sense.
    pub separators: Separators,
    /// False where MSH-1 and MSH-2 make no sense: the message itself must then be refused.
    pub has_valid_separators: bool,
}

impl<'r> Header<'r> {
    /// The first line that begins with `MSH`, if there is one.
    pub fn read(raw: &'r [u8]) -> Option<Header<'r>> {
        let searched = &raw[..raw.len().min(SEARCHED_BYTES)];
        let line = searched
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .map(without_leading_space)
            .find(|line| line.starts_with(b"MSH"))?;
        Some(Header::of_line(line))
    }

    /// A header segment that is at hand: MSH, BHS or FHS, whose first fields have the same numbers.
    pub fn of_line(line: &'r [u8]) -> Header<'r> {
        let declared = Separators::from_header(line);
        Header {
            line,
            separators: declared.unwrap_or_default(),
            has_valid_separators: declared.is_some(),
        }
    }

    /// Who sent it: `MSH-3.1` and `MSH-4.1` with a dot between.
    pub fn sender(&self) -> String {
        format!("{}.{}", self.component(3, 1), self.component(4, 1))
    }

    /// MSH-`n` with its delimiters, counted as the standard does (MSH-1 is the field separator); empty if absent.
    pub fn field(&self, n: usize) -> Cow<'r, str> {
        let bytes = match n {
            0 => &[][..],
            1 => self.line.get(3..4).unwrap_or_default(),
            _ => self
                .line
                .split(|byte| *byte == self.separators.field)
                .nth(n - 1)
                .unwrap_or_default(),
        };
        decode_latin1(bytes)
    }

    /// Component `c` (from 1) of the first repetition of MSH-`n`.
    pub fn component(&self, n: usize, c: usize) -> String {
        let field = self.field(n);
        let repetition = field
            .split(char::from(self.separators.repetition))
            .next()
            .unwrap_or_default();
        let mut components = repetition.split(char::from(self.separators.component));
        components
            .nth(c.saturating_sub(1))
            .unwrap_or_default()
            .to_owned()
    }
}

/// Blanks, tabs and byte order marks before a segment name carry nothing.
pub(crate) fn without_leading_space(mut line: &[u8]) -> &[u8] {
    loop {
        line = match line {
            [b' ' | b'\t', rest @ ..] | [0xEF, 0xBB, 0xBF, rest @ ..] => rest,
            _ => return line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[u8], n: usize, expect: Option<&str>) {
        let found = Header::read(raw).map(|header| header.field(n).into_owned());
        assert_eq!(found.as_deref(), expect, "MSH-{n} of {raw:?}");
    }

    #[test]
    fn the_header_is_found_and_numbered() {
        check(b"MSH|^~\\&|A|B", 1, Some("|"));
        check(b"MSH|^~\\&|A|B", 2, Some("^~\\&"));
        check(b"MSH|^~\\&|A|B", 3, Some("A"));
        check(b"MSH|^~\\&|A|B", 9, Some(""));
        check(b"MSH|^~\\&|A|B\rPID|1|2", 5, Some(""));
        check(b"\xEF\xBB\xBF \r\n MSH|^~\\&#|A", 3, Some("A"));
        check(b"FHS|^~\\&|X\rBHS|^~\\&|Y\rMSH|^~\\&|A", 3, Some("A"));
        check(b"MSH|^~\\&|N\xDA\xD1EZ", 3, Some("N\u{DA}\u{D1}EZ"));
        check(b"MSH", 3, Some(""));
        check(b"PID|1", 3, None);
        check(b"", 3, None);
    }
}
