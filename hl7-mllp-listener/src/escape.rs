//! Escape sequences of v2 text (v2.9 section 2.7), both ways. Nothing is lost: a sequence that is not known, not closed
//! or not decodable stays in the text as it was sent. Highlighting and most formatting commands have no plain text and
//! are left out; `\.br\`, `\.sp\` and `\.ce\` end a line. `\C..\` and `\M..\` switch to the Japanese sets and back, as the ISO 2022
//! escapes they stand for (`\M2442\` is ESC $ B); those to other sets, and `\Z..\`, stay as sent: what they mean is between two sites.

use crate::{charset::Charset, separators::Separators};
use std::borrow::Cow;

/// Most lines one `\.sp\` may skip; more is no text layout.
const MAX_SKIPPED_LINES: usize = 100;

/// The text a value stands for.
pub fn unescape<'t>(raw: &'t str, separators: &Separators, charset: Charset) -> Cow<'t, str> {
    let escape = char::from(separators.escape);
    if separators.escape == 0 || !raw.as_bytes().contains(&separators.escape) {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(start) = rest.find(escape) {
        text.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let Some(end) = after.find(escape) else {
            rest = &rest[start..];
            break;
        };
        if let Some(after) = push_shifted(&mut text, &after[..end], &after[end + 1..], escape) {
            rest = after;
        } else if push_sequence(&mut text, &after[..end], separators, charset) {
            rest = &after[end + 1..];
        } else {
            // The closing character may open the next sequence: `C:\dir\F\x` holds one.
            text.push_str(&rest[start..start + 1 + end]);
            rest = &after[end..];
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The value a text is sent as: delimiters, the escape character and control characters as sequences. Without an escape
/// character delimiters become blanks, which is all such a message can say.
pub fn escape<'t>(text: &'t str, separators: &Separators) -> Cow<'t, str> {
    let needs_care = |c: char| c.is_ascii() && sequence(c as u8, separators).is_some();
    if !text.contains(needs_care) {
        return Cow::Borrowed(text);
    }
    let mut raw = String::with_capacity(text.len() + 8);
    let escape = char::from(separators.escape);
    for c in text.chars() {
        match u8::try_from(c)
            .ok()
            .and_then(|byte| sequence(byte, separators))
        {
            None => raw.push(c),
            Some(_) if separators.escape == 0 => raw.push(' '),
            Some(sequence) => {
                raw.push(escape);
                raw.push_str(&sequence);
                raw.push(escape);
            }
        }
    }
    Cow::Owned(raw)
}

fn sequence(byte: u8, s: &Separators) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match byte {
        // The full stop of the usual sequence may have a role.
        b'\n' if !s.roles().contains(&b'.') => ".br",
        0..0x20 | 0x7F => return Some(Cow::Owned(format!("X{byte:02X}"))),
        _ if byte == s.field => "F",
        _ if byte == s.component => "S",
        _ if byte == s.repetition => "R",
        _ if byte == s.escape => "E",
        _ if byte == s.subcomponent => "T",
        _ if byte == s.truncation => "P",
        _ => return None,
    }))
}

/// Appends what the sequence stands for; false, with nothing appended, if it is none we know.
fn push_sequence(text: &mut String, body: &str, s: &Separators, charset: Charset) -> bool {
    let delimiter = match body {
        "F" => s.field,
        "S" => s.component,
        "R" => s.repetition,
        "E" => s.escape,
        "T" => s.subcomponent,
        "P" => s.truncation,
        "H" | "N" => return true,
        _ => return push_hexadecimal(text, body, charset) || push_formatting(text, body),
    };
    if delimiter != 0 {
        text.push(char::from(delimiter));
    }
    delimiter != 0
}

/// `\Xdd..\`: bytes in the message's character set.
fn push_hexadecimal(text: &mut String, body: &str, charset: Charset) -> bool {
    let Some(digits) = body.strip_prefix(['X', 'x']) else {
        return false;
    };
    if digits.is_empty() || digits.len() % 2 != 0 {
        return false;
    }
    let Some(bytes) = hexadecimal(digits) else {
        return false;
    };
    // JSON text cannot hold U+0000, so a NUL stays an escape sequence.
    let decoded = if bytes.contains(&0) {
        None
    } else {
        charset.decode(&bytes)
    };
    if let Some(decoded) = &decoded {
        text.push_str(decoded);
    }
    decoded.is_some()
}

/// `\Cxxyy\` and `\Mxxyyzz\`: an ISO 2022 escape, which holds up to the next one. What follows the text it is for; `None`, with nothing
/// appended, if it is none, or the text is not of the set it names.
fn push_shifted<'t>(
    text: &mut String,
    body: &str,
    after: &'t str,
    escape: char,
) -> Option<&'t str> {
    let digits = body.strip_prefix(['C', 'M'])?;
    if digits.len() % 2 != 0 || !(4..=6).contains(&digits.len()) {
        return None;
    }
    let mut bytes = vec![0x1b];
    bytes.extend(hexadecimal(digits)?);
    let next = |(at, _): &(usize, &str)| after[at + escape.len_utf8()..].starts_with(['C', 'M']);
    let end = after
        .match_indices(escape)
        .find(next)
        .map_or(after.len(), |(at, _)| at);
    let (shifted, rest) = after.split_at(end);
    // In Roman letters the rest may hold any other sequence: it is not read here.
    let (shifted, rest) = match bytes.ends_with(b"(B") || bytes.ends_with(b"(J") {
        true => ("", after),
        false => (shifted, rest),
    };
    bytes.extend(shifted.is_ascii().then_some(shifted.as_bytes())?);
    text.push_str(&Charset::JAPANESE.decode(&bytes)?);
    Some(rest)
}

/// Pairs of hexadecimal digits as bytes; `None` if they are not all digits.
fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pairs = digits.as_bytes().chunks(2);
    all.then(|| {
        pairs
            .map(|pair| (hex_value(pair[0]) << 4) | hex_value(pair[1]))
            .collect()
    })
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Formatting commands of FT values (v2.9 section 2.7.6).
fn push_formatting(text: &mut String, body: &str) -> bool {
    let Some(command) = body.strip_prefix('.') else {
        return false;
    };
    let Some((name, argument)) = command.split_at_checked(2) else {
        return false;
    };
    let argument = argument.trim();
    let number = argument.trim_start_matches(['+', '-']);
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let lines = match name {
        "br" | "ce" if argument.is_empty() => 1,
        "sp" if number.is_empty() => 1,
        "sp" => number
            .parse()
            .unwrap_or(MAX_SKIPPED_LINES)
            .min(MAX_SKIPPED_LINES),
        "in" | "ti" | "sk" | "fi" | "nf" => 0,
        _ => return false,
    };
    text.extend(std::iter::repeat_n('\n', lines));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(raw: &str, expect: &str) {
        assert_eq!(
            unescape(raw, &Separators::default(), Charset::UTF_8),
            expect,
            "{raw}"
        );
    }

    #[test]
    fn sequences_become_text_and_nothing_is_lost() {
        check("plain", "plain");
        check(r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f");
        check(r"\X4142\", "AB");
        check(r"\XC3A9\", "é");
        check(r"\xc3a9\", "é");
        check(r"\X0D\", "\r");
        check(r"\X00\", r"\X00\");
        check(r"\X414\", r"\X414\");
        check(r"\XFF\", r"\XFF\");
        check(r"\XZZ\", r"\XZZ\");
        check(r"\X\", r"\X\");
        check(
            r"one\.br\two\.sp\three\.sp+2\four\.ce\five",
            "one\ntwo\nthree\n\nfour\nfive",
        );
        check(r"\.sp999999999999999999999\", &"\n".repeat(100));
        check(r"\.in+4\a\.ti-2\b\.fi\c\.nf\d\.sk5\e", "abcde");
        check(r"\H\bold\N\ plain", "bold plain");
        check(r"\Z01\\C2D41\\M24294341\", r"\Z01\\C2D41\\M24294341\");
        check(r"\M2442\;3\C2842\ \F\b", "山 |b");
        check(r"a\M2442\;3ED\M242844\0!\C284A\!", "a山田丂!");
        check(r"\C2849\1", "ｱ");
        check(r"\M2442\;", r"\M2442\;");
        check(r"\M2442\é\C2842\", r"\M2442\é");
        check(r"\C2842\x\.br\", "x\n");
        check(r"a\b", r"a\b");
        check(r"ends with \", r"ends with \");
        check(r"C:\dir\F\x", r"C:\dir|x");
        check(r"\\", r"\\");
        check(r"\P\", r"\P\");
        check(r"\.é\ \é\", r"\.é\ \é\");
    }

    #[test]
    fn custom_delimiters_have_the_same_letters() {
        let separators = Separators::from_header(b"MSH#*~/!?#").unwrap();
        assert_eq!(
            unescape("/F//S//T//P/", &separators, Charset::UTF_8),
            "#*!?"
        );
        assert_eq!(escape("a#b?", &separators), "a/F/b/P/");
        let separators = Separators::from_header(b"MSH|^~\\.|").unwrap();
        assert_eq!(escape("a\nb.", &separators), r"a\X0A\b\T\");
    }

    #[test]
    fn without_an_escape_character_text_stays_flat() {
        let separators = Separators::from_header(b"MSH|^~|").unwrap();
        assert_eq!(escape("a|b\nc", &separators), "a b c");
        assert_eq!(unescape(r"a\F\b", &separators, Charset::UTF_8), r"a\F\b");
    }

    proptest! {
        #[test]
        fn escaping_round_trips(text in "([a-z|^~\\\\&é山\r\n\t.X0-9FSRTE]{0,40}|[^\0]{0,40})") {
            let separators = Separators::default();
            let raw = escape(&text, &separators);
            prop_assert!(!raw.contains(['|', '^', '~', '&', '\r', '\n']));
            prop_assert_eq!(unescape(&raw, &separators, Charset::UTF_8), text.as_str());
        }

        #[test]
        fn unescaping_never_panics_and_keeps_text_without_escapes(raw in "\\PC{0,80}") {
            let text = unescape(&raw, &Separators::default(), Charset::UTF_8);
            let kept: String = raw.split('\\').next().unwrap_or_default().to_owned();
            prop_assert!(text.starts_with(&kept));
        }
    }
}
