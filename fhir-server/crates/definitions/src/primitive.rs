//! The value spaces of the primitive types (<https://hl7.org/fhir/R5/datatypes.html#primitive>), as predicates over their text.
//!
//! Written out rather than run as the snapshots' regular expressions: those accept 31 February, and cost more. A test holds
//! each against its expression.

use fhir_model::date::{PartialDate, Precision};
use fhir_model::key::is_id;
use fhirpath::html;

/// Longest string, in bytes (the specification says 1,048,576 characters).
const STRING_MAX: usize = 1024 * 1024;

/// The check of a primitive that is a JSON string; `None` for those that are JSON numbers or booleans, and for other types.
pub(crate) fn text_check(type_name: &str) -> Option<fn(&str) -> bool> {
    Some(match type_name {
        "string" | "markdown" => string,
        "xhtml" => narrative,
        "code" => code,
        "id" => is_id,
        "uri" | "url" | "canonical" => uri,
        "oid" => oid,
        "uuid" => uuid,
        "date" => date,
        "dateTime" => date_time,
        "instant" => instant,
        "time" => time,
        "base64Binary" => base64,
        "integer64" => integer64,
        _ => return None,
    })
}

/// The range of a primitive that is a JSON integer.
pub(crate) fn integer_range(type_name: &str) -> Option<(i64, i64)> {
    const MAX: i64 = i32::MAX as i64;
    Some(match type_name {
        "integer" => (i32::MIN as i64, MAX),
        "unsignedInt" => (0, MAX),
        "positiveInt" => (1, MAX),
        _ => return None,
    })
}

/// Not empty, not whitespace alone, and no control characters but tab, line feed and carriage return
/// (<https://hl7.org/fhir/R5/datatypes.html#string>).
fn string(text: &str) -> bool {
    let control = |b: u8| b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r');
    // To the end, whatever comes: many bytes at a time.
    let has_control = |text: &str| text.bytes().fold(false, |has, byte| has | control(byte));
    text.len() <= STRING_MAX && !text.trim_ascii().is_empty() && !has_control(text)
}

/// The invariants txt-1 and txt-2: a `div` without script, with something to read in it.
fn narrative(text: &str) -> bool {
    string(text) && html::has_content(text)
}

/// No whitespace at the ends, single spaces inside.
fn code(text: &str) -> bool {
    text.len() <= STRING_MAX
        && text
            .split(' ')
            .all(|word| !word.is_empty() && !word.contains(char::is_whitespace))
}

fn uri(text: &str) -> bool {
    !text.is_empty() && text.len() <= STRING_MAX && !has_whitespace(text)
}

fn has_whitespace(text: &str) -> bool {
    let is_space = |byte: u8| matches!(byte, b'\t'..=b'\r' | b' ');
    match text.is_ascii() {
        true => text.bytes().fold(false, |has, byte| has | is_space(byte)),
        false => text.contains(char::is_whitespace),
    }
}

fn oid(text: &str) -> bool {
    let Some(arcs) = text.strip_prefix("urn:oid:") else {
        return false;
    };
    let mut arcs = arcs.split('.');
    matches!(arcs.next(), Some("0" | "1" | "2"))
        && arcs.clone().next().is_some()
        && arcs.all(|arc| {
            !arc.is_empty()
                && arc.bytes().all(|b| b.is_ascii_digit())
                && (arc == "0" || !arc.starts_with('0'))
        })
}

fn uuid(text: &str) -> bool {
    let Some(digits) = text.strip_prefix("urn:uuid:") else {
        return false;
    };
    digits.len() == 36
        && digits.bytes().enumerate().all(|(index, b)| match index {
            8 | 13 | 18 | 23 => b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn date(text: &str) -> bool {
    PartialDate::parse(text).is_some_and(|d| d.precision <= Precision::Day)
}

/// A time of day needs seconds and a zone.
fn date_time(text: &str) -> bool {
    PartialDate::parse(text).is_some_and(|d| {
        d.precision <= Precision::Day || (d.precision >= Precision::Second && d.zoned)
    }) && fraction_is_short(text)
}

fn instant(text: &str) -> bool {
    PartialDate::parse(text).is_some_and(|d| d.precision >= Precision::Second && d.zoned)
        && fraction_is_short(text)
}

/// Nine digits of a second at most.
fn fraction_is_short(text: &str) -> bool {
    text.split_once('.')
        .is_none_or(|(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count() <= 9)
}

/// `hh:mm:ss[.f…]`; second 60 is legal, hour 24 is not.
fn time(text: &str) -> bool {
    let two = |part: &str, max: u8| {
        part.len() == 2 && part.parse::<u8>().is_ok_and(|n| n <= max) && !part.starts_with('+')
    };
    let mut parts = text.splitn(3, ':');
    let (Some(hour), Some(minute), Some(second)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (whole, fraction) = second.split_once('.').unwrap_or((second, "0"));
    two(hour, 23)
        && two(minute, 59)
        && two(whole, 60)
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|b| b.is_ascii_digit())
}

/// Groups of four, `=` only at the end, no whitespace.
fn base64(text: &str) -> bool {
    let bytes = text.as_bytes();
    let padding = bytes.iter().rev().take_while(|b| **b == b'=').count();
    !bytes.is_empty()
        && bytes.len().is_multiple_of(4)
        && padding <= 2
        && bytes[..bytes.len() - padding]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// A JSON string, so that it survives readers whose numbers are doubles.
fn integer64(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    text.parse::<i64>().is_ok() && (digits == "0" || !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::{Kind, Structures};
    use regex::Regex;

    /// Texts that one type or another takes, and that the regular expressions do not judge differently than we do.
    const TEXTS: &[&str] = &[
        "",
        " ",
        "a",
        "a b",
        "a  b",
        " a",
        "a ",
        "a\tb",
        "A-1.b",
        "a_b",
        "é",
        "\u{a0}",
        "http://x.org/a?b#c",
        "http://x y",
        "urn:oid:1.2.3",
        "urn:oid:1",
        "urn:oid:3.1",
        "urn:oid:1.02",
        "urn:oid:2.0.1",
        "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
        "urn:uuid:C757873D-EC9A-4326-A141-556F43239520",
        "urn:uuid:c757873dec9a4326a141556f43239520",
        "2026",
        "2026-1",
        "2026-01",
        "2026-13",
        "2026-01-31",
        "2026-01-32",
        "0000",
        "26",
        "2026-01-31T08:00:00Z",
        "2026-01-31T08:00:00",
        "2026-01-31T08:00Z",
        "2026-01-31T08:00:00.123+02:00",
        "2026-01-31T08:00:60Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T08:00:00+15:00",
        "2026-01-31T08:00:00.1234567890Z",
        "2026-01-31T08:00:00.123456789-05:30",
        "2026-01-31T",
        "08:00:00",
        "8:00:00",
        "08:00",
        "24:00:00",
        "08:00:60",
        "08:00:00.5",
        "08:00:00.",
        "08:60:00",
        "YQ==",
        "YWI=",
        "YWJj",
        "YWJ",
        "YW J",
        "YQ=a",
        "====",
        "0",
        "-1",
        "+1",
        "01",
        "1.0",
        "99999999999999999999",
        "-9223372036854775808",
    ];

    #[test]
    fn as_the_regular_expressions_say() {
        for structure in Structures::r5().all() {
            if structure.kind != Kind::Primitive || structure.regex.is_empty() {
                continue;
            }
            let Some(check) = text_check(structure.name) else {
                continue;
            };
            let regex = Regex::new(&format!("^(?:{})$", structure.regex)).unwrap();
            for text in TEXTS {
                let expect = regex.is_match(text);
                let stricter = match structure.name {
                    // Empty values and blank strings are refused for every type (R5 json.html), \S is not Unicode there.
                    _ if text.is_empty() || *text == " " => true,
                    "integer64" => *text == "99999999999999999999",
                    // "If hours and minutes are specified, a timezone offset SHALL be populated"
                    "dateTime" => *text == "2026-01-31T08:00:00",
                    _ => false,
                };
                if !(stricter && expect) {
                    assert_eq!(
                        check(text),
                        expect,
                        "{} {text:?} {}",
                        structure.name,
                        structure.regex
                    );
                } else {
                    assert!(!check(text), "{} {text:?}", structure.name);
                }
            }
        }
    }

    #[test]
    fn beyond_the_regular_expressions() {
        for (type_name, text, expect) in [
            ("date", "2026-02-30", false),
            ("date", "2024-02-29", true),
            ("dateTime", "2025-02-29T00:00:00Z", false),
            ("instant", "2026-01-31", false),
            ("instant", "2026-01-31T08:00:00Z", true),
            ("string", "\n", false),
            ("integer64", "9223372036854775808", false),
        ] {
            assert_eq!(
                text_check(type_name).unwrap()(text),
                expect,
                "{type_name} {text:?}"
            );
        }
        assert!(!string(&"x".repeat(STRING_MAX + 1)));
    }
}
